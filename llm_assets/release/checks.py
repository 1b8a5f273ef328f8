"""The gate of the release stage: the verdict holds."""

from llm_assets.gates import Gate
from llm_assets.line import Line
from llm_assets.records.gate import GateResult
from llm_assets.records.release import Verdict
from llm_assets.release.verdict import explain


def verdict_gates(line: Line) -> list[Gate[Verdict]]:
    """`verdict_holds`: every gate of the candidate passed."""

    def judge(verdict: Verdict) -> GateResult:
        passing = sum(gate.passed for gate in verdict.gates)
        holds = verdict.passed and verdict.gates and not any(gate.blocks for gate in verdict.gates)
        return GateResult(
            gate="verdict_holds",
            asset="verdict",
            outcome="PASS" if holds else "FAIL",
            reason=explain(verdict.gates) or f"{passing} of {len(verdict.gates)} gates pass, none is in the way.",
            value=float(passing),
            bound=f"every one of {len(verdict.gates)} that does not only advise",
        )

    return [Gate("verdict_holds", "verdict", f"Every gate of {line.name}'s candidate passes.", judge)]

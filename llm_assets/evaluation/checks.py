"""The quality gates of an evaluation: one per entry of the line's `gates`, each a pure function of the report."""

import functools

from llm_assets.evaluation.assessment import Assessment, assess, worst
from llm_assets.gate_spec import GateSpec
from llm_assets.gates import Gate
from llm_assets.line import Line
from llm_assets.records.evaluation import EvaluationReport
from llm_assets.records.gate import GateResult

ASSET = "evaluation_report"


def evaluation_gates(line: Line) -> list[Gate[EvaluationReport]]:
    """One gate per entry of the line's `gates`, in its order."""
    return [
        Gate(name, ASSET, _description(line, name), functools.partial(judge, line, name), spec.advisory)
        for name, spec in line.gates.items()
    ]


def judge(line: Line, name: str, report: EvaluationReport) -> GateResult:
    """What the evidence decides about everything a gate requires; all gates of the line are corrected together.

    A gate passes if all its requirements do; else it has the outcome of the worst one. Requirements against a champion
    do not hold while nothing serves, and the reason says so.
    """
    found = [one for one in assess(line, report) if one.requirement.gate == name]
    skipped = "" if report.champion or not _compares_with_champion(line, name) else "no champion yet"
    if not found:
        reason = f"{skipped}: this gate holds from the second release on."
        return _result(line, name, "PASS", reason, None)
    deciding = worst(found)
    where = "" if len(found) == 1 else f"{deciding.requirement.subject}: "
    others = sum(one.outcome == "PASS" for one in found if one is not deciding)
    notes = [f"{others} of {len(found) - 1} other requirements pass"] if len(found) > 1 else []
    notes += [f"{skipped}, so only its other bounds hold"] if skipped else []
    reason = "; ".join([where + deciding.reason, *notes]) + "."
    return _result(line, name, deciding.outcome, reason, deciding)


def _result(line: Line, name: str, outcome: str, reason: str, deciding: Assessment | None) -> GateResult:
    evidence = deciding.evidence if deciding else None
    requirement = deciding.requirement if deciding else line.requirements(name)[0]
    figures = {"value": evidence.value, "low": evidence.low, "high": evidence.high, "n": evidence.n} if evidence else {}
    return GateResult.model_validate(
        {
            "gate": name,
            "asset": ASSET,
            "outcome": outcome,
            "reason": reason,
            "bound": requirement.bound,
            "advisory": line.gates[name].advisory,
            **(figures if outcome != "ERROR" else {}),
        }
    )


def _compares_with_champion(line: Line, name: str) -> bool:
    change = line.gates[name].change
    return change is not None and "champion" in change.opponents


def _description(line: Line, name: str) -> str:
    spec = line.gates[name]
    claims = [f"{_subject(spec, r.against)} {r.bound}" for r in line.requirements(name) if r.slice == "all"]
    slices = f", on {', '.join(spec.slices)} as well" if spec.slices else ""
    rates = f"false pass {spec.false_pass:.0%}, false fail {spec.false_fail:.0%}"
    return f"{' and '.join(claims)}{slices}; {rates}{'; only advises' if spec.advisory else ''}."


def _subject(spec: GateSpec, against: str) -> str:
    metric = spec.metric.replace("_", " ")
    if not against:
        return metric.capitalize()
    if spec.metric == "perplexity":
        return f"Perplexity as a ratio to the {against}'s"
    return (
        f"Win rate over the {against}" if spec.metric == "win_rate" else f"{metric.capitalize()} minus the {against}'s"
    )

"""The gates of the gates: each must have the power it promises, must not pass what it should stop, and must not hear a
judge that is not qualified."""

import base64
import functools
from collections.abc import Callable
from typing import Any

import dagster as dg

from llm_assets.evaluation.judge_status import judge_figures, judge_problem
from llm_assets.evaluation.policy import evaluation_policy
from llm_assets.gates import Gate
from llm_assets.line import Line
from llm_assets.records.evaluation import CalibratedGate, GateCalibration
from llm_assets.records.gate import GateResult, Rate
from resources.store import ArtifactStore

ASSET = "gate_calibration"
QUALIFIED = "judge_is_qualified"
WAY_OUT = (
    "mend the judge or what leads to it (evaluation.judge, LLM_JUDGE_URL, LLM_JUDGE_API_KEY), or make the gates on its "
    "win rates advisory"
)


def calibration_gates(line: Line) -> list[Gate[GateCalibration]]:
    """`power` and `false_pass`, over all gates of the line that do not only advise; and `judge_is_qualified` if a gate
    reads a win rate, which only advises if all those gates do."""

    def power(calibration: GateCalibration) -> GateResult:
        return _judge(line, calibration, "power", lambda gate: (gate.false_fail, gate.stated_false_fail), strict=True)

    def false_pass(calibration: GateCalibration) -> GateResult:
        return _judge(line, calibration, "false_pass", lambda gate: (gate.false_pass, gate.stated_false_pass), False)

    gates = [
        Gate(
            "power", ASSET, "Each gate passes a model that is better by its minimum effect as often as it says.", power
        ),
        Gate("false_pass", ASSET, "Each gate passes a model at its threshold no more often than it says.", false_pass),
    ]
    judged = [gate for gate in line.gates.values() if gate.metric == "win_rate"]
    if judged:
        claim = "The judge of the win rates agrees with people, and order, length and instructions do not sway it."
        advisory = all(gate.advisory for gate in judged)
        judge = functools.partial(_judge_is_qualified, line, advisory)
        gates.append(Gate(QUALIFIED, ASSET, claim, judge, advisory))
    return gates


def _judge_is_qualified(line: Line, advisory: bool, calibration: GateCalibration) -> GateResult:
    """INCONCLUSIVE for a judge that is not qualified: what its win rates would say is not known."""
    spec, status = line.evaluation.judge, calibration.judge_status
    if status is None or calibration.policy != evaluation_policy(line):
        return _outdated(line, QUALIFIED, advisory)
    problem = judge_problem(status, spec)
    figures = judge_figures(spec, status)
    held = [figure for figure in figures if figure.holds is not None]
    passing = f"{status.model} holds all {len(held)} figures; {held[0]}."
    table = [f"| {f.name} | {f.interval} | {f.rate.n} | {f.required} | {f.meaning} |" for f in figures]
    return GateResult(
        gate=QUALIFIED,
        asset=ASSET,
        outcome="INCONCLUSIVE" if problem else "PASS",
        reason=f"{problem.rstrip('.')}; {WAY_OUT}." if problem else passing,
        details="\n".join(["| figure | measured | n | required | what it is |", f"|{'---|' * 5}", *table]),
        bound=held[0].required,
        advisory=advisory,
        **status.agreement.model_dump(),
    )


def _outdated(line: Line, gate: str, advisory: bool = False) -> GateResult:
    reason = f"these are rates of other gates, sets or judges than the line has; materialize {line.name}/{ASSET} again."
    return GateResult(gate=gate, asset=ASSET, outcome="ERROR", reason=reason, advisory=advisory)


def _judge(
    line: Line,
    calibration: GateCalibration,
    name: str,
    figures: Callable[[CalibratedGate], tuple[Rate, float]],
    strict: bool,
) -> GateResult:
    """FAIL if a rate is surely above what is stated. If it may be, a strict gate is INCONCLUSIVE: power is a promise to
    keep; of the false passes it is the tests that promise, and the count only has to agree with them."""
    if calibration.policy != evaluation_policy(line):
        return _outdated(line, name)
    gates = [gate for gate in calibration.gates if not gate.advisory]
    missing = [f"{gate.gate}: {gate.missing}" for gate in gates if gate.missing]
    if missing:
        reason = "; ".join(missing) + "; mend the gate's slices or the set."
        return GateResult(gate=name, asset=ASSET, outcome="ERROR", reason=reason)
    above = [gate.gate for gate in gates if figures(gate)[0].low > figures(gate)[1]]
    unsure = [gate.gate for gate in gates if figures(gate)[0].high > figures(gate)[1] and gate.gate not in above]
    over = [gate.gate for gate in gates if figures(gate)[0].value > figures(gate)[1] and gate.gate not in above]
    outcome = "FAIL" if above else "INCONCLUSIVE" if strict and unsure else "PASS"
    worst = max(gates, key=lambda gate: figures(gate)[0].value / figures(gate)[1], default=None)
    if worst is None:
        return GateResult(gate=name, asset=ASSET, outcome="PASS", reason="every gate of the line only advises.")
    rate, stated = figures(worst)
    kept = len(gates) - len(above) - len(unsure if strict else over)
    notes = _way_out(name, above or (unsure if strict else [])) + _noise(worst, [] if strict else over)
    closest = f"{kept} of {len(gates)} gates keep what they state; closest is {_sentence(name, worst, rate, stated)}"
    return GateResult(
        gate=name,
        asset=ASSET,
        outcome=outcome,  # type: ignore[arg-type]
        reason=f"{closest}{notes}.",
        details=calibration_table(calibration),
        bound=f"<= {stated:g}",
        **rate.model_dump(),
    )


def _sentence(name: str, gate: CalibratedGate, rate: Rate, stated: float) -> str:
    if name == "power":
        good = f"{gate.power:.1%} of models that are good enough (n = {gate.n})"
        return f"{gate.gate}, which passes {good}, {1 - stated:.0%} stated"
    return f"{gate.gate}, which passes {rate.value:.1%} of models at its threshold, {stated:.0%} stated"


def _noise(worst: CalibratedGate, gates: list[str]) -> str:
    if not gates:
        return ""
    runs = worst.false_pass.n
    return f"; {', '.join(gates)}: counted above it, by no more than chance does in {runs:,} simulated models"


def _way_out(name: str, gates: list[str]) -> str:
    if not gates:
        return ""
    if name == "power":
        return f"; too weak: {', '.join(gates)}: give more examples, a larger minimum_effect, or make it advisory"
    return f"; not to be trusted: {', '.join(gates)}: give more examples"


def describe_calibration(store: ArtifactStore, calibration: GateCalibration) -> dict[str, Any]:
    """What the UI shows of a calibration."""
    plot = base64.b64encode((store.path(calibration.plot) / "calibration.png").read_bytes()).decode()
    return {
        "plot": dg.MetadataValue.md(f"![false passes and false fails of every gate](data:image/png;base64,{plot})"),
        "error_rates": dg.MetadataValue.md(calibration_table(calibration)),
        "simulated_models_at_least": calibration.runs,
        **({"judge": calibration.judge_status.reason} if calibration.judge_status else {}),
        "noise": "of the champion beside the base" if calibration.champion else "planned, as there is no champion yet",
    }


def calibration_table(calibration: GateCalibration) -> str:
    """Error rates as a Markdown table."""

    def cell(rate: Rate | None) -> str:
        return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]" if rate else "-"

    names = ("gate", "n", "power", "false pass", "stated", "false fail", "stated", "identical models pass")
    header = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    rows = [
        f"| {g.gate} | {g.n} | {g.power:.1%} | {cell(g.false_pass)} | {g.stated_false_pass:.0%} | {cell(g.false_fail)} "
        f"| {g.stated_false_fail:.0%} | {cell(g.identical)} |"
        for g in calibration.gates
    ]
    return "\n".join([*header, *rows])

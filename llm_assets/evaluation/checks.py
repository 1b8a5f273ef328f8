"""The quality gates of an evaluation: one per threshold of the line, each a pure function of the report."""

import functools
import math

from llm_assets.evaluation.judge_status import judge_problem
from llm_assets.gates import Gate, bounded
from llm_assets.line import METRICS_OF, GateSpec, Line
from llm_assets.records import EvaluationReport, GateResult

ASSET = "evaluation_report"


def evaluation_gates(line: Line) -> list[Gate[EvaluationReport]]:
    """One gate per entry of the line's `gates`, in its order."""
    return [
        Gate(name, ASSET, _description(spec), functools.partial(judge, line, name, spec))
        for name, spec in line.gates.items()
    ]


def judge(line: Line, name: str, spec: GateSpec, report: EvaluationReport) -> GateResult:
    """Compare the interval of one measurement, over the whole set, with the gate's threshold.

    ERROR if the measurement is missing or was made with another confidence; INCONCLUSIVE below `minimum_n`, if the
    interval holds the threshold, or if the judge of a win rate may not gate. A gate against the champion passes while
    nothing serves, and says so.
    """
    if spec.against == "champion" and not report.champion:
        return _result(name, spec, "PASS", "no champion yet: this gate holds from the second release on.")
    if not math.isclose(report.confidence, line.evaluation.confidence):
        reason = f"the report's bounds hold at {report.confidence:g}, the line asks for {line.evaluation.confidence:g}"
        return _result(name, spec, "ERROR", f"{reason}; materialize {line.name}/{ASSET} again.")
    if spec.metric == "win_rate" and (problem := judge_problem(report)):
        return _result(name, spec, "INCONCLUSIVE", problem)
    set_name = _set_of(line, spec)
    found = report.find(spec.metric, spec.against, set_name)
    if found is None:
        against = f" against {spec.against}" if spec.against else ""
        return _result(name, spec, "ERROR", f"the report has no {spec.metric}{against} on set {set_name}.")
    if found.n < spec.minimum_n:
        reason = f"{found.n} examples of set {set_name} are too few, at least {spec.minimum_n} are needed."
        return _result(name, spec, "INCONCLUSIVE", reason, n=found.n)
    return bounded(
        name,
        ASSET,
        found.value,
        minimum=spec.minimum,
        maximum=spec.maximum,
        low=found.low,
        high=found.high,
        n=found.n,
    )


def _set_of(line: Line, spec: GateSpec) -> str:
    """The one set that has the metric; `Line` made sure of it."""
    return spec.set or next(
        name for name, found in line.evaluation.sets.items() if spec.metric in METRICS_OF[found.kind]
    )


def _description(spec: GateSpec) -> str:
    metric = spec.metric.replace("_", " ")
    subject = {
        "perplexity": f"Perplexity as a ratio to the {spec.against}'s",
        "win_rate": f"Win rate over the {spec.against}",
    }.get(spec.metric, f"{metric.capitalize()} minus the {spec.against}'s")
    subject = subject if spec.against else metric.capitalize()
    return f"{subject} is {_required(spec)}, with the whole interval."


def _required(spec: GateSpec) -> str:
    """The threshold as text, as `bounded` writes it."""
    sides = [f">= {spec.minimum:g}"] if spec.minimum is not None else []
    return " and ".join([*sides, *([f"<= {spec.maximum:g}"] if spec.maximum is not None else [])])


def _result(name: str, spec: GateSpec, outcome: str, reason: str, n: int | None = None) -> GateResult:
    return GateResult.model_validate(
        {"gate": name, "asset": ASSET, "outcome": outcome, "reason": reason, "bound": _required(spec), "n": n}
    )

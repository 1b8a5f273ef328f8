"""The evidence of a report: for every requirement of the line's gates, its sample, two p-values and bounds."""

from collections.abc import Mapping, Sequence

from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.measurements import members_of
from llm_assets.evaluation.samples import Measured
from llm_assets.gate_spec import Requirement
from llm_assets.line import Line
from llm_assets.records import Evidence


def evidence_of(line: Line, measured: Sequence[Measured]) -> list[Evidence]:
    """One entry per requirement that could be measured; what can't be measured is absent, never NaN."""
    sets = {one.set_name: one for one in measured}
    found = []
    for name, spec in line.gates.items():
        for requirement in line.requirements(name):
            sample = sample_of(requirement, sets)
            if sample:
                found.append(_evidence(requirement, sample, spec.false_fail))
    return found


def sample_of(requirement: Requirement, sets: Mapping[str, Measured]) -> Sample | None:
    """The measured numbers that a requirement is about; None for an opponent, a metric or a slice that is not there."""
    one = sets[requirement.set]
    members = members_of(requirement.slice, one.examples)
    for task in one.tasks:
        scores = one.scores[task.name]
        if task.name == requirement.metric and members and (requirement.against or "candidate") in scores:
            mine = [scores["candidate"][index] for index in members]
            theirs = [scores[requirement.against][index] for index in members] if requirement.against else None
            return task.sample(mine, theirs, [one.examples[index].source for index in members])
    return None


def _evidence(requirement: Requirement, sample: Sample, false_fail: float) -> Evidence:
    estimate = sample.estimate(1 - requirement.false_pass)
    p = sample.p_values(requirement.threshold)
    above, below = float(p.above.item()), float(p.below.item())
    passing, failing = (above, below) if requirement.side == "minimum" else (below, above)
    return Evidence(
        gate=requirement.gate,
        metric=requirement.metric,
        set=requirement.set,
        slice=requirement.slice,
        against=requirement.against,
        side=requirement.side,
        threshold=requirement.threshold,
        level=requirement.false_pass,
        value=estimate.value,
        standard_error=estimate.standard_error,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        p_pass=passing,
        p_fail=failing,
        needed=sample.needed(requirement.threshold, requirement.false_pass, false_fail),
        method=sample.method,
    )

"""The evidence of a report: for every requirement of the line's gates, its sample, two p-values and bounds."""

from collections.abc import Mapping, Sequence

from llm_assets.evaluation.assessment import families
from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.measurements import comparison, members_of
from llm_assets.evaluation.proportions import PairedProportions, Proportion
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.sequential import Sequential
from llm_assets.evaluation.task import Score
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
    sources = [one.examples[index].source for index in members]
    for task in one.tasks:
        scores = one.scores[task.name]
        if task.name != requirement.metric or not members:
            continue
        mine = None if task.pairwise else [scores["candidate"][index] for index in members]
        if mine is not None and not requirement.against:
            return _in_order(requirement, task.sample(mine, None, sources), task.increments(mine))
        if requirement.against and requirement.against in scores:
            theirs = [scores[requirement.against][index] for index in members]
            sample = comparison(task, scores, requirement.against, members, sources)
            increments = _judged(theirs) if mine is None else task.increments(mine, theirs)
            return _in_order(requirement, sample, increments)
    return None


def _judged(outcomes: Sequence[Score]) -> list[float]:
    return [outcome.value for outcome in outcomes if outcome.value is not None]


def _in_order(requirement: Requirement, sample: Sample | None, increments: Sequence[float]) -> Sample | None:
    """The sample as it is, or of an adaptive set the one that may be looked at at any time."""
    if not requirement.adaptive or not isinstance(sample, Proportion | PairedProportions):
        return sample
    return Sequential.of(increments, sample)


def decided(line: Line, measured: Measured, champion: bool) -> bool:
    """Whether the gates say the same of an adaptive set whatever its other examples and all other sets will say.

    Each requirement is decided at the strictest level that Holm's correction can ask of it.
    """
    for family in families(line):
        holding = [r for r in family if r.against != "champion" or champion]
        for requirement in holding:
            if requirement.set != measured.set_name:
                continue
            sample = sample_of(requirement, {measured.set_name: measured})
            if sample is None or sample.n < requirement.minimum_n:
                return False
            p = sample.p_values(requirement.threshold)
            if min(p.above.item(), p.below.item()) * len(holding) > requirement.false_pass:
                return False
    return True


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

"""The evidence of a report: for every requirement of the line's gates, its sample, two p-values and bounds."""

from collections.abc import Mapping, Sequence

from llm_assets.evaluation.assessment import families
from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.measurements import alone, comparison, members_of
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.sequential import Sequential
from llm_assets.gate_spec import Requirement
from llm_assets.line import Line
from llm_assets.records.evaluation import Evidence


def evidence_of(line: Line, measured: Sequence[Measured]) -> list[Evidence]:
    """One entry per requirement that could be measured; what can't be measured is absent, never NaN."""
    sets = {one.set_name: one for one in measured}
    found = []
    for family in families(line):
        samples = [(requirement, sample_of(requirement, sets)) for requirement in family]
        together = sum(sample is not None for _, sample in samples)
        for requirement, sample in samples:
            if sample:
                found.append(_evidence(requirement, sample, together, line.gates[requirement.gate].false_fail))
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
        chosen = {model: [given[index] for index in members] for model, given in scores.items()}
        if not requirement.against:
            return None if task.pairwise else alone(task, chosen["candidate"], sources, requirement.adaptive)
        if requirement.against in scores:
            return comparison(task, chosen, requirement.against, sources, requirement.adaptive)
    return None


def decided(line: Line, measured: Measured, champion: bool) -> bool:
    """Whether the gates say the same of an adaptive set whatever its other examples and all other sets will say.

    Each requirement is decided at the strictest level that Holm's correction can ask of it, by a test that allows to
    stop. A set that no gate asks anything of now is never decided: its figures are wanted for themselves.
    """
    asked = 0
    for family in families(line):
        holding = [r for r in family if r.against != "champion" or champion]
        for requirement in holding:
            if requirement.set != measured.set_name:
                continue
            sample = sample_of(requirement, {measured.set_name: measured})
            if not isinstance(sample, Sequential) or sample.n < requirement.minimum_n:
                return False
            asked += 1
            p = sample.p_values(requirement.threshold)
            if min(p.above.item(), p.below.item()) * len(holding) > requirement.false_pass:
                return False
    return asked > 0


def _evidence(requirement: Requirement, sample: Sample, together: int, false_fail: float) -> Evidence:
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
        needed=sample.needed(requirement.threshold, requirement.false_pass / together, false_fail),
        method=sample.method,
    )

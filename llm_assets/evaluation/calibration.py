"""How often the gates of a line err: A/A calibration by simulation, with the tests that judge a real candidate.

Simulated models are made from the scores of real ones (`Sample.simulated`): as good as what they are compared with
(identical), better than each threshold by its minimum effect, or degraded by that effect, which puts them exactly at
the threshold. They come as often as it takes to know a rate to a percent, and are judged as a candidate is,
all gates together. Nothing here is a formula for power: what is stated is what was counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_assets.evaluation.assessment import families
from llm_assets.evaluation.estimates import PValues, Sample
from llm_assets.evaluation.holm import holm
from llm_assets.evaluation.measurements import members_of
from llm_assets.evaluation.proportions import BoundedDifference, PairedProportions, Proportion
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.sequential import Sequential
from llm_assets.evaluation.task import Score
from llm_assets.gate_spec import Requirement
from llm_assets.line import Line
from llm_assets.records.evaluation import CalibratedGate
from llm_assets.records.gate import Rate

RUNS = 2000
CONFIDENCE = 0.95
"""Of the bounds of a rate, each."""
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Simulated:
    """The p-values of one requirement, in units of its level, for simulated models of three kinds; shape [runs]."""

    at_threshold: Floats
    """More of them than of the others, which are judged together with other gates."""
    sufficient: Floats
    identical: Floats


def calibrate(line: Line, measured: Sequence[Measured]) -> list[CalibratedGate]:
    """The error rates of every gate, in the line's order.

    Args:
        measured: every set, with the scores of the base and, if one serves, the champion.
    """
    sets = {one.set_name: one for one in measured}
    found: dict[str, CalibratedGate] = {}
    for family in families(line):
        samples = [planned_sample(requirement, sets) for requirement in family]
        gaps = [_gap(requirement, sample) for requirement, sample in zip(family, samples, strict=True)]
        able = [requirement for requirement, gap in zip(family, gaps, strict=True) if not gap]
        usable = [sample for sample, gap in zip(samples, gaps, strict=True) if sample and not gap]
        simulated = [_simulate(r, s, index) for index, (r, s) in enumerate(zip(able, usable, strict=True))]
        passes = {name: _passes([getattr(one, name) for one in simulated]) for name in ("sufficient", "identical")}
        for name in dict.fromkeys(requirement.gate for requirement in family):
            own = [index for index, requirement in enumerate(able) if requirement.gate == name]
            missing = "; ".join(gap for r, gap in zip(family, gaps, strict=True) if r.gate == name and gap)
            sizes = [sample.n for r, sample in zip(family, samples, strict=True) if r.gate == name and sample]
            rates = None if missing else _rates(simulated, own, passes)
            requirements = sum(r.gate == name for r in family)
            found[name] = _gate(line, name, requirements, min(sizes, default=0), rates, missing)
    return [found[name] for name in line.gates]


def _gap(requirement: Requirement, sample: Sample | None) -> str:
    """Why the examples that there are can't decide a requirement; empty if they can."""
    return requirement.too_few(sample.n) if sample else f"the sets have no {requirement.subject}"


def planned_sample(requirement: Requirement, sets: Mapping[str, Measured]) -> Sample | None:
    """Numbers as noisy as a requirement's will be, tested as they will be; None if the set has no such metric or
    slice."""
    sample = _fixed_sample(requirement, sets)
    if requirement.adaptive and isinstance(sample, Proportion | PairedProportions | BoundedDifference):
        return Sequential.planned(sample)
    return sample


def _fixed_sample(requirement: Requirement, sets: Mapping[str, Measured]) -> Sample | None:
    """Numbers as noisy as a requirement's will be: those of champion and base, else the base's own and a planned
    noise. None if the set has no such metric or slice."""
    one = sets[requirement.set]
    members = members_of(requirement.slice, one.examples)
    sources = [one.examples[index].source for index in members]
    for task in one.tasks:
        if task.name != requirement.metric or not members:
            continue
        if task.pairwise:  # nothing was asked of a judge yet
            return task.planned([Score(None)] * len(members), sources)
        base = [one.scores[task.name]["base"][index] for index in members]
        if not requirement.against:
            return task.sample(base, None, sources)
        if "champion" not in one.scores[task.name]:
            planned = task.planned(base, sources)
            unknown = requirement.against == "champion" and isinstance(planned, PairedProportions)
            return PairedProportions.unknown(planned.n) if unknown and planned else planned
        champion = [one.scores[task.name]["champion"][index] for index in members]
        return task.sample(champion, base, sources)
    return None


def _simulate(requirement: Requirement, sample: Sample, seed: int) -> Simulated:
    random = np.random.default_rng(seed)
    threshold = requirement.threshold

    def ratios(truth: float, runs: int = RUNS) -> Floats:
        found: PValues = sample.simulated(truth, threshold, runs, random)
        p = found.above if requirement.side == "minimum" else found.below
        return p / requirement.false_pass

    sufficient = ratios(requirement.sufficient)
    at_threshold = ratios(threshold, sample.runs)
    same = requirement.identity
    # a bound on the candidate's own value says nothing of identical models: it is met
    return Simulated(at_threshold, sufficient, sufficient if same is None else ratios(same))


def _passes(ratios: Sequence[Floats]) -> Flags:
    """Which requirements pass in which run, corrected together; shape [requirements, runs]."""
    return np.asarray(holm(np.array(ratios)) <= 1) if ratios else np.zeros((0, RUNS), dtype=bool)


def _rates(simulated: Sequence[Simulated], own: Sequence[int], passes: Mapping[str, Flags]) -> dict[str, Rate]:
    """How often a gate errs: passes wrongly (the worst requirement at its threshold), fails wrongly, and passes with
    identical models."""
    # everything else is surely good: then Holm's correction asks least of the one that is not
    wrongly = [rate(simulated[index].at_threshold <= 1) for index in own]
    return {
        "false_pass": max(wrongly, key=lambda found: found.value),
        "false_fail": rate(np.asarray(~passes["sufficient"][list(own)].all(axis=0))),
        "identical": rate(np.asarray(passes["identical"][list(own)].all(axis=0))),
    }


def _gate(
    line: Line,
    name: str,
    requirements: int,
    n: int,
    rates: Mapping[str, Rate] | None,
    missing: str,
) -> CalibratedGate:
    spec = line.gates[name]
    compares = spec.change is not None
    always = rate(np.ones(RUNS, dtype=bool))
    known = rates or {"false_pass": always, "false_fail": always, "identical": rate(np.zeros(RUNS, dtype=bool))}
    return CalibratedGate(
        gate=name,
        requirements=requirements,
        n=n,
        stated_false_pass=spec.false_pass,
        stated_false_fail=spec.false_fail,
        false_pass=known["false_pass"],
        false_fail=known["false_fail"],
        identical=known["identical"] if compares else None,
        missing=missing,
        advisory=spec.advisory,
    )


def rate(happened: Flags) -> Rate:
    """A frequency with exact one-sided bounds."""
    found = Proportion.of(happened.astype(float)).estimate(CONFIDENCE)
    return Rate(value=found.value, low=found.low, high=found.high, n=found.n)

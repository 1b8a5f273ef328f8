"""From the scores of base, candidate and champion to the measurements of a report, overall and per slice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from llm_assets.evaluation.estimates import Sample, per_document
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.proportions import BoundedDifference, PairedProportions, PartlyJudged, Proportion
from llm_assets.evaluation.sequential import Sequential
from llm_assets.evaluation.task import Score, Task
from llm_assets.gate_spec import ALL
from llm_assets.records.evaluation import Measurement
from llm_assets.records.record import Record

SMALLEST_SLICE = 5
"""Documents below which a slice says nothing and is left out."""
Against = Literal["base", "champion"]
OPPONENTS: tuple[Against, ...] = ("base", "champion")


class Measurements(Record):
    """What one task says on one set."""

    measurements: list[Measurement]


def measure(
    task: Task,
    set_name: str,
    examples: Sequence[Example],
    scores: Mapping[str, Sequence[Score]],
    confidence: float,
    adaptive: bool = False,
) -> list[Measurement]:
    """All measurements of one task on one set.

    The candidate's own value has the task's name; the others' own values are `base_perplexity` and so on. What can't be
    measured is absent, never NaN.

    Args:
        scores: model (`base`, `candidate`, `champion` if there is one) -> its scores, in the order of the examples; of
            a pairwise task: opponent -> the candidate's outcomes against it.
        confidence: of each bound.
        adaptive: the set was looked at before it was whole, and the bounds must hold nevertheless.
    """
    found = []
    for name in _slices(examples):
        members = members_of(name, examples)
        sources = [examples[index].source for index in members]
        chosen = {model: [given[index] for index in members] for model, given in scores.items()}
        for model, own in chosen.items() if not task.pairwise else ():
            metric = task.name if model == "candidate" else f"{model}_{task.name}"
            found.append(_measurement(alone(task, own, sources, adaptive), confidence, metric, set_name, name))
        for against in OPPONENTS:
            if against in chosen:
                compared = comparison(task, chosen, against, sources, adaptive)
                found.append(_measurement(compared, confidence, task.name, set_name, name, against))
    return [measurement for measurement in found if measurement is not None]


def alone(task: Task, scores: Sequence[Score], sources: Sequence[str], adaptive: bool) -> Sample | None:
    """What one model's scores amount to; of an adaptive set as a sample that may be looked at at any time."""
    sample = task.sample(scores, None, sources)
    return _at_any_time(sample, task.increments(scores), sources) if sample and adaptive else sample


def comparison(
    task: Task, scores: Mapping[str, Sequence[Score]], against: Against, sources: Sequence[str], adaptive: bool
) -> Sample | None:
    """The candidate compared with an opponent on the same examples, as `alone`; the scores are as in `measure`."""
    theirs, mine = scores[against], scores.get("candidate", [])
    sample = task.decided(theirs, sources) if task.pairwise else task.sample(mine, theirs, sources)
    if not sample or not adaptive:
        return sample
    return _at_any_time(sample, [] if task.pairwise else task.increments(mine, theirs), sources)


def _at_any_time(sample: Sample, increments: Sequence[float], sources: Sequence[str]) -> Sample:
    if isinstance(sample, PartlyJudged):
        return Sequential.of(sample.worst.scores, sample.worst, sample.best.scores)
    if isinstance(sample, Proportion | PairedProportions | BoundedDifference):
        return Sequential.of(per_document(increments, sources), sample)
    return sample


def members_of(slice_name: str, examples: Sequence[Example]) -> list[int]:
    """Which examples belong to a slice."""
    return [index for index, example in enumerate(examples) if slice_name in (ALL, *example.slices)]


def _slices(examples: Sequence[Example]) -> Iterator[str]:
    """Name of each slice that is large enough, `all` first."""
    yield ALL
    for name in sorted({name for example in examples for name in example.slices}):
        if len({examples[index].source for index in members_of(name, examples)}) >= SMALLEST_SLICE:
            yield name


def _measurement(
    sample: Sample | None,
    confidence: float,
    metric: str,
    set_name: str,
    slice_name: str,
    against: Against | Literal[""] = "",
) -> Measurement | None:
    if not sample:
        return None
    found = asdict(sample.estimate(confidence))
    return Measurement(metric=metric, set=set_name, slice=slice_name, against=against, **found)

"""From the scores of base, candidate and champion to the measurements of a report, overall and per slice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.task import Score, Task
from llm_assets.gate_spec import ALL
from llm_assets.records import Measurement, Record

SMALLEST_SLICE = 5
"""Examples below which a slice says nothing and is left out."""
Against = Literal["base", "champion"]
OPPONENTS: tuple[Against, ...] = ("base", "champion")


class Measurements(Record):
    """What one task says on one set."""

    measurements: list[Measurement]


def measure(
    task: Task, set_name: str, examples: Sequence[Example], scores: Mapping[str, Sequence[Score]], confidence: float
) -> list[Measurement]:
    """All measurements of one task on one set.

    The candidate's own value has the task's name; the others' own values are `base_perplexity` and so on. What can't be
    measured is absent, never NaN.

    Args:
        scores: model (`base`, `candidate`, `champion` if there is one) -> its scores, in the order of the examples; of
            a pairwise task: opponent -> the candidate's outcomes against it.
        confidence: of each bound.
    """
    found = []
    for name in _slices(examples):
        members = members_of(name, examples)
        sources = [examples[index].source for index in members]
        chosen = {model: [given[index] for index in members] for model, given in scores.items()}
        for model, own in chosen.items() if not task.pairwise else ():
            metric = task.name if model == "candidate" else f"{model}_{task.name}"
            found.append(_measurement(task.sample(own, None, sources), confidence, metric, set_name, name))
        for against in OPPONENTS:
            if against in chosen:
                compared = comparison(task, scores, against, members, sources)
                found.append(_measurement(compared, confidence, task.name, set_name, name, against))
    return [measurement for measurement in found if measurement is not None]


def comparison(
    task: Task,
    scores: Mapping[str, Sequence[Score]],
    against: Against,
    members: Sequence[int],
    sources: Sequence[str] | None = None,
) -> Sample | None:
    """The candidate compared with an opponent on some of the examples; `sources` are those of the members."""
    theirs = [scores[against][index] for index in members]
    if task.pairwise:
        return task.decided(theirs, sources)
    return task.sample([scores["candidate"][index] for index in members], theirs, sources)


def members_of(slice_name: str, examples: Sequence[Example]) -> list[int]:
    """Which examples belong to a slice."""
    return [index for index, example in enumerate(examples) if slice_name in (ALL, *example.slices)]


def _slices(examples: Sequence[Example]) -> Iterator[str]:
    """Name of each slice that is large enough, `all` first."""
    yield ALL
    for name in sorted({name for example in examples for name in example.slices}):
        if len(members_of(name, examples)) >= SMALLEST_SLICE:
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

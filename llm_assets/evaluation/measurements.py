"""From the scores of base, candidate and champion to the measurements of a report, overall and per slice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from llm_assets.evaluation.estimates import Estimate
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.task import Score, Task
from llm_assets.records import Measurement, Record

ALL = "all"
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
    for name, members in _slices(examples):
        chosen = {model: [given[index] for index in members] for model, given in scores.items()}
        for model, own in chosen.items():
            metric = task.name if model == "candidate" else f"{model}_{task.name}"
            found.append(_measurement(task.alone(own, confidence), metric, set_name, name))
        for against in OPPONENTS:
            if against in chosen:
                if task.pairwise:
                    compared = task.decided(chosen[against], confidence)
                else:
                    compared = task.versus(chosen["candidate"], chosen[against], confidence)
                found.append(_measurement(compared, task.name, set_name, name, against))
    return [measurement for measurement in found if measurement is not None]


def _slices(examples: Sequence[Example]) -> Iterator[tuple[str, list[int]]]:
    """Name and members of each slice, `all` first."""
    yield ALL, list(range(len(examples)))
    names = sorted({name for example in examples for name in example.slices})
    for name in names:
        members = [index for index, example in enumerate(examples) if name in example.slices]
        if len(members) >= SMALLEST_SLICE:
            yield name, members


def _measurement(
    estimate: Estimate | None, metric: str, set_name: str, slice_name: str, against: Against | Literal[""] = ""
) -> Measurement | None:
    if estimate is None:
        return None
    return Measurement(
        metric=metric,
        set=set_name,
        slice=slice_name,
        against=against,
        value=estimate.value,
        standard_error=estimate.standard_error,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
    )

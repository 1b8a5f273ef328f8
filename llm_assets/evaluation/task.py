"""The contract of an evaluation task: score one sample, and say what the scores of a set amount to.

A task is a deepeval metric, so that any sample can be scored alone or in a deepeval test; one task lives in one file.
Only child processes import tasks: deepeval takes seconds.
"""

import json
import math
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

os.environ["DEEPEVAL_TELEMETRY_OPT_OUT"] = "1"  # both are read when deepeval is imported
os.environ["DEEPEVAL_DISABLE_DOTENV"] = "1"

from deepeval.metrics import BaseMetric
from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.outputs import Output
from llm_assets.gate_spec import Metric
from llm_assets.records.data import EvaluationKind
from llm_assets.records.record import Record
from resources.errors import EvaluationError
from resources.store import Artifact, digest_of


class Scores(Record):
    """What one task gave to one model's outputs on one set."""

    rows: Artifact
    """scores.jsonl, in the order of the examples."""


@dataclass(frozen=True)
class Score:
    """One sample's score."""

    value: float | None
    """None if it is not a finite number; then the whole metric is missing, because a hole is not an average."""
    weight: float = 1.0
    """How much it counts in the set, for example its tokens."""
    reason: str = ""
    """What a person should know about it."""
    failed: bool = False
    """There is no value because something outside did not answer; asked again, there may be one."""


class Task(BaseMetric):
    """One evaluation task on one model's outputs."""

    name: ClassVar[Metric]
    kind: ClassVar[EvaluationKind]
    sample_score: ClassVar[str]
    """What one sample's number is, as a column name."""
    better: ClassVar[Literal["higher", "lower"]]
    """Which direction of the metric is the better one; `gate_spec.LOWER_IS_BETTER` says the same."""
    pairwise: ClassVar[bool] = False
    """Two models' answers are scored together, by `outcomes`, instead of each alone."""
    async_mode = False

    @property
    def identity(self) -> str:
        """What decides the scores beside the platform's own code: a user's function, a foreign verifier's version."""
        return ""

    @abstractmethod
    def measure(self, test_case: LLMTestCase, *args: Any, **kwargs: Any) -> float:
        """Score one sample; also sets `score` and `reason`."""

    @abstractmethod
    def sample(
        self, scores: Sequence[Score], others: Sequence[Score] | None = None, sources: Sequence[str] | None = None
    ) -> Sample | None:
        """What the scores of one model amount to, or of two compared; None if a score is missing or they say nothing.

        Args:
            others: of the other model, on the same examples.
            sources: the document that each example comes from.
        """

    def outcomes(self, examples: Sequence[Example], mine: Sequence[Output], theirs: Sequence[Output]) -> list[Score]:
        """Of a pairwise task: how the first model fares against the second, sample by sample, None where missing."""
        raise NotImplementedError

    def decided(self, outcomes: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Of a pairwise task: what the outcomes amount to; None if there are none."""
        raise NotImplementedError

    def score_all(self, examples: Sequence[Example], outputs: Sequence[Output]) -> list[Score]:
        """The score of every sample, in order."""
        return [self._score(example, output) for example, output in zip(examples, outputs, strict=True)]

    def increments(self, scores: Sequence[Score], others: Sequence[Score] | None = None) -> list[float]:
        """Example by example, in order, what `sample` adds up: the scores, or their differences. None is missing."""
        mine = values(scores) or []
        return mine if others is None else [a - b for a, b in zip(mine, values(others) or [], strict=True)]

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """What to expect of a comparison with a model as good as the one that has these scores, before there is one."""
        return self.sample(scores, scores, sources)

    async def a_measure(self, test_case: LLMTestCase, *args: Any, **kwargs: Any) -> float:
        """As `measure`; nothing here waits."""
        return self.measure(test_case)

    @property
    def __name__(self) -> str:
        return self.name

    def _score(self, example: Example, output: Output) -> Score:
        self.reason = ""
        value = self.measure(test_case(example, output))
        return Score(value if math.isfinite(value) else None, self.weight(output), self.reason or "")

    def weight(self, output: Output) -> float:
        """How much a sample counts."""
        return 1.0


def test_case(example: Example, output: Output) -> LLMTestCase:
    """A sample as deepeval knows it; the metadata hold its likelihoods and what the kind of set brings."""
    return LLMTestCase(
        input=example.prompt,
        actual_output=output.text,
        expected_output=example.reference,
        name=example.id,
        metadata={"losses": output.losses, "given": output.given, **example.target},
    )


def exam_digest(examples: Sequence[Example]) -> str:
    """Digest of all that scores depend on beside what a model said: a corrected answer key scores it anew."""
    return digest_of([[each.id, each.messages, each.reference, each.target] for each in examples])


def version_of(package: str, task: str, way_out: str) -> str:
    """Version of a package that scores in the platform's place; another one may score otherwise.

    Raises:
        EvaluationError: it is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise EvaluationError(f"{task} needs {package}; install {way_out}.") from error


def is_missing(error: Exception) -> bool:
    """Whether foreign code broke because a package or its data are not there, which is so for any answer.

    Data that NLTK lacks are a plain LookupError; an IndexError or a KeyError is one as well, and about the answer.
    """
    return isinstance(error, ImportError) or type(error) is LookupError


def values(scores: Sequence[Score]) -> list[float] | None:
    """The values, if every one is there and there are any."""
    found = [score.value for score in scores if score.value is not None]
    return found if found and len(found) == len(scores) else None


def write_scores(scores: Sequence[Score]) -> bytes:
    """The content of scores.jsonl."""
    return b"".join(json.dumps(vars(score), ensure_ascii=False, allow_nan=False).encode() + b"\n" for score in scores)


def read_scores(folder: Path) -> list[Score]:
    """The rows of scores.jsonl."""
    with (folder / "scores.jsonl").open(encoding="utf-8") as file:
        return [Score(**json.loads(line)) for line in file]

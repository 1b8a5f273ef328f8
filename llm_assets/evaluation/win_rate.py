"""Win rate: whose answer is closer to what a human said, as the embedding judge sees it."""

from collections.abc import Sequence

from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.judge import EmbeddingJudge
from llm_assets.evaluation.outputs import Output
from llm_assets.evaluation.proportions import Proportion
from llm_assets.evaluation.task import Score, Task, values


class WinRate(Task):
    """The share of prompts on which a model's answer beats another model's; a tie counts half.

    One sample's score is its answer's similarity to the human reference. Of two answers the more similar one wins,
    unless they are within `tie_margin` of each other. The judge sees likeness, not truth or style.
    """

    name = "win_rate"
    kind = "chat"
    sample_score = "similarity"
    better = "higher"

    def __init__(self, judge: EmbeddingJudge, tie_margin: float) -> None:
        self.judge = judge
        self.tie_margin = tie_margin

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """Cosine of the embeddings of answer and reference; 0 for an answer without a word."""
        self.score = self.judge.similarity(test_case.actual_output or "", test_case.expected_output or "")
        return self.score

    def score_all(self, examples: Sequence[Example], outputs: Sequence[Output]) -> list[Score]:
        """As for every task, with all texts embedded together first."""
        self.judge.read([example.reference for example in examples] + [output.text for output in outputs])
        return super().score_all(examples, outputs)

    def sample(
        self, scores: Sequence[Score], others: Sequence[Score] | None = None, sources: Sequence[str] | None = None
    ) -> Sample | None:
        """Wins and half the ties, as a proportion; None for one model: nobody wins alone."""
        mine, theirs = values(scores), values(others or [])
        if not mine or not theirs:
            return None
        return Proportion.of([self.outcome(a, b) for a, b in zip(mine, theirs, strict=True)])

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Two models that win in turn and never tie, which leaves the most to chance."""
        found = values(scores)
        return Proportion.of([float(index % 2) for index in range(len(found))]) if found else None

    def outcome(self, similarity: float, other: float) -> float:
        """1 for a win, 0.5 for a tie, 0 for a loss."""
        if abs(similarity - other) <= self.tie_margin:
            return 0.5
        return 1.0 if similarity > other else 0.0

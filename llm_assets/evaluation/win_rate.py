"""Win rate: on how many prompts a model's answer beats another's, as the line's judge sees it."""

from collections.abc import Sequence

from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.estimates import Sample, per_document
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.judge import EmbeddingJudge, closer
from llm_assets.evaluation.outputs import Output
from llm_assets.evaluation.pairs import Pair, PairJudge
from llm_assets.evaluation.proportions import PartlyJudged, Proportion
from llm_assets.evaluation.task import Score, Task, values
from resources.errors import EvaluationError


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
        outcomes = self.increments(scores, others)
        return Proportion.of(per_document(outcomes, sources)) if outcomes else None

    def increments(self, scores: Sequence[Score], others: Sequence[Score] | None = None) -> list[float]:
        """The outcome on each prompt; none if a score is missing or there is nobody to win against."""
        mine, theirs = values(scores), values(others or [])
        return [self.outcome(a, b) for a, b in zip(mine, theirs, strict=True)] if mine and theirs else []

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Two models that win in turn and never tie, which leaves the most to chance."""
        return _in_turn(values(scores) or [], sources)

    def outcome(self, similarity: float, other: float) -> float:
        """1 for a win, 0.5 for a tie, 0 for a loss."""
        return closer(similarity, other, self.tie_margin)


class JudgedWinRate(Task):
    """The share of prompts on which a judge of pairs prefers a model's answer to another model's; a tie counts half.

    One sample's score is the candidate's outcome against one opponent, and its reason the judge's own words. A pair
    without a readable judgement has no score and counts against the claim; how many that may be is the judge's quorum.
    """

    name = "win_rate"
    kind = "chat"
    sample_score = "outcome_against"
    pairwise = True

    def __init__(self, judge: PairJudge) -> None:
        self.judge = judge

    def outcomes(self, examples: Sequence[Example], mine: Sequence[Output], theirs: Sequence[Output]) -> list[Score]:
        """1 where this model's answer wins, 0 where it loses, 0.5 for a tie, None where the judge says nothing."""
        pairs = [
            Pair(conversation(example), example.reference, own.text, other.text)
            for example, own, other in zip(examples, mine, theirs, strict=True)
        ]
        return [Score(ruling.outcome, reason=ruling.words, failed=ruling.failed) for ruling in self.judge.rule(pairs)]

    def decided(self, outcomes: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Wins and half the ties, as a proportion; a pair without a judgement counts against what is claimed."""
        return PartlyJudged.of([outcome.value for outcome in outcomes], sources) if outcomes else None

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """Never: one answer alone is nothing to compare."""
        raise EvaluationError("this win rate compares two answers; ask for its outcomes, not for one answer's score.")

    def sample(
        self, scores: Sequence[Score], others: Sequence[Score] | None = None, sources: Sequence[str] | None = None
    ) -> Sample | None:
        """None: scores of single answers do not exist, see `decided`."""
        return None

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Two models that win in turn and never tie."""
        return _in_turn([0.0] * len(scores), sources)


def _in_turn(numbers: Sequence[float], sources: Sequence[str] | None) -> Proportion | None:
    """Wins of two equals without a tie, which leaves the most to chance; as many as there are documents."""
    documents = len(per_document(numbers, sources))
    return Proportion.of([float(index % 2) for index in range(documents)]) if documents else None


def conversation(example: Example) -> str:
    """What was asked, with what was said before, where something was."""
    if len(example.messages) < 2:
        return example.prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in example.messages)

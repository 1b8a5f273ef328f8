"""Perplexity of the human answers: how surprised a model is by each token of what people said."""

import math
from collections.abc import Sequence

from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.outputs import Output
from llm_assets.evaluation.ratios import RatioOfSums
from llm_assets.evaluation.task import Score, Task, values


class Perplexity(Task):
    """exp of the mean negative log-likelihood per answer token, over all tokens of the set; lower is better.

    One sample's score is its own mean, in nats per token, including the token that ends the answer. Models are compared
    by the ratio of how likely they find the same texts, per token of the first. For models with one tokenizer that is
    the ratio of their perplexities; unlike it, it also means something for two tokenizers.
    """

    name = "perplexity"
    kind = "chat"
    sample_score = "nats_per_token"
    better = "lower"

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """Nats per token of the reference answer."""
        total, tokens = test_case.metadata["losses"]["reference"]
        self.score = math.nan if total is None else total / tokens
        return self.score

    def weight(self, output: Output) -> float:
        """A sample counts by its tokens."""
        return float(output.losses["reference"][1])

    def sample(
        self, scores: Sequence[Score], others: Sequence[Score] | None = None, sources: Sequence[str] | None = None
    ) -> Sample | None:
        """exp(sum of nats / sum of tokens), or the ratio to the other model, below 1 if this one is better."""
        nats, tokens = _nats(scores), _tokens(scores)
        if not nats or len(set(sources or range(len(nats)))) < 2:
            return None
        if others is None:
            return RatioOfSums.of(nats, tokens, sources, exponential=True)
        theirs = _nats(others)
        if not theirs:
            return None
        gaps = [mine - other for mine, other in zip(nats, theirs, strict=True)]
        return RatioOfSums.of(gaps, tokens, sources, exponential=True, paired=True)

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Gaps of two models whose nats on an example are alike, as those of a model and its tuned form are."""
        alone = self.sample(scores, None, sources)
        return alone.planned() if isinstance(alone, RatioOfSums) else None


def _nats(scores: Sequence[Score]) -> list[float] | None:
    found = values(scores)
    return found and [value * score.weight for value, score in zip(found, scores, strict=True)]


def _tokens(scores: Sequence[Score]) -> list[float]:
    return [score.weight for score in scores]

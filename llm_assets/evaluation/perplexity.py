"""Perplexity of the human answers: how surprised a model is by each token of what people said."""

import math
from collections.abc import Sequence

import numpy as np
from deepeval.test_case import LLMTestCase
from numpy.typing import NDArray

from llm_assets.evaluation.estimates import Estimate, bootstrapped
from llm_assets.evaluation.outputs import Output
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

    def alone(self, scores: Sequence[Score], confidence: float) -> Estimate | None:
        """exp(sum of nats / sum of tokens); bounds by a bootstrap over examples. None below two examples."""
        nats = _nats(scores)
        return bootstrapped(_exp_mean, [nats, _tokens(scores)], confidence) if nats and len(nats) > 1 else None

    def versus(self, scores: Sequence[Score], others: Sequence[Score], confidence: float) -> Estimate | None:
        """The ratio to the other model, below 1 if this one is better; bounds by a paired bootstrap."""
        nats, theirs = _nats(scores), _nats(others)
        if not nats or not theirs or len(nats) < 2:
            return None
        gaps = [mine - other for mine, other in zip(nats, theirs, strict=True)]
        return bootstrapped(_exp_mean, [gaps, _tokens(scores)], confidence)


def _exp_mean(nats: NDArray[np.float64], tokens: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.exp(nats.sum(axis=axis) / tokens.sum(axis=axis))


def _nats(scores: Sequence[Score]) -> list[float] | None:
    found = values(scores)
    return found and [value * score.weight for value, score in zip(found, scores, strict=True)]


def _tokens(scores: Sequence[Score]) -> list[float]:
    return [score.weight for score in scores]

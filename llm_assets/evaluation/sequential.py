"""A test that may be looked at after every example: stopping early, whenever, costs none of its error rate.

For scores in a known range, by betting: against the hypothesis that their mean is at most a threshold a gambler stakes
a part of the capital on each next score. If the hypothesis is true nobody can expect to win, so the capital exceeds
1/p at any time with a probability of at most p (Ville 1939; Waudby-Smith and Ramdas, Journal of the Royal Statistical
Society B 86, 2024). That freedom costs power: with all examples used, an exact test needs fewer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import optimize

from llm_assets.evaluation.estimates import Estimate, Floats, PValues, Sample, Values, standard_error
from llm_assets.evaluation.proportions import BoundedDifference, PairedProportions, Proportion

Inner = Proportion | PairedProportions | BoundedDifference
BOLDNESS = 0.75
"""Largest part of the capital that is staked on one score."""


@dataclass(frozen=True)
class Sequential(Sample):
    """Scores in the order in which they were looked at; those of a comparison are differences.

    What was seen once must stay as it was, because it was bet on: so a document's examples are looked at together.
    """

    increments: Floats
    """Each from `lowest` to 1."""
    lowest: float
    inner: Inner
    """The same examples for a test at a fixed number of them; simulated ones are drawn from it."""
    best: Floats | None = None
    """Where scores are missing: `increments` hold the lowest in their place, these the highest. Each test looks at
    those that its claim likes least."""
    method = "betting, valid whenever it is looked at"
    runs = 4000

    @classmethod
    def of(cls, increments: Values, inner: Inner, best: Floats | None = None) -> Self:
        """From the scores or differences that the inner sample adds up."""
        lowest = 0.0 if isinstance(inner, Proportion) else -1.0
        return cls(np.asarray(increments, dtype=float), lowest, inner, best)

    @classmethod
    def planned(cls, inner: Inner) -> Self:
        """As noisy as the inner sample, before there are scores in any order."""
        return cls.of([0.0] * inner.n, inner)

    @property
    def n(self) -> int:  # type: ignore[override]
        """Examples."""
        return len(self.increments)

    def estimate(self, confidence: float) -> Estimate:
        """The mean with the bounds at which the p-values below reach 1 - confidence."""
        best = self.increments if self.best is None else self.best
        value, level = float(np.mean([self.increments.mean(), best.mean()])), 1 - confidence
        low = self._crossing(lambda bound: float(self.p_values(bound).above.item()) - level, self.lowest, value)
        high = self._crossing(lambda bound: level - float(self.p_values(bound).below.item()), value, 1.0)
        return Estimate(value, max(map(standard_error, (self.increments, best))), low, high, self.n)

    def p_values(self, threshold: float) -> PValues:
        """The two tests, looked at after every example so far."""
        worst = self._bets(self.increments[:, np.newaxis], threshold)
        if self.best is None:
            return worst
        return PValues(worst.above, self._bets(self.best[:, np.newaxis], threshold).below)

    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """Of draws as the inner sample's, looked at after every example up to the last."""
        return self._bets(self.inner.drawn(truth, runs, random), threshold)

    def distance(self, threshold: float) -> float:
        """That of the inner sample: what a fixed number of examples would decide."""
        return self.inner.distance(threshold)

    def _bets(self, increments: Floats, threshold: float) -> PValues:
        width = 1 - self.lowest
        scores, bound = (increments - self.lowest) / width, (threshold - self.lowest) / width
        return PValues(_surely_above(scores, bound), _surely_above(1 - scores, 1 - bound))

    def _crossing(self, distance: Callable[[float], float], left: float, right: float) -> float:
        if distance(left) * distance(right) >= 0:
            return left if abs(distance(left)) < abs(distance(right)) else right
        return float(optimize.brentq(distance, left, right, xtol=1e-13, rtol=1e-14))


def _surely_above(scores: Floats, bound: float) -> Floats:
    """p-values of the hypothesis that the mean is the bound or less, from scores in [0, 1], shape [n, samples].

    Each stake is what would have made the capital of the scores before it grow fastest, to second order; before the
    first ones it is as if one of 0 and one of 1 had been seen.
    """
    count = np.arange(len(scores), dtype=float)[:, np.newaxis]
    before = np.vstack([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0)[:-1]])
    squares = np.vstack([np.zeros((1, scores.shape[1])), np.cumsum(scores**2, axis=0)[:-1]])
    mean = (before + 1) / (count + 2)
    variance = np.maximum((squares + 1) / (count + 2) - mean**2, 1e-9)
    stake = np.clip((mean - bound) / (variance + (mean - bound) ** 2), 0, BOLDNESS / max(bound, 1e-9))
    capital = np.cumsum(np.log1p(stake * (scores - bound)), axis=0)
    return np.asarray(np.exp(-np.maximum(capital.max(axis=0), 0.0)))

"""Shares of examples, of one model or of two on the same examples, with exact tests.

Exact: under the hypothesis a test rejects at most as often as its level says, because every outcome is enumerated.
Approximations (Wilson, Wald) can't promise that for the small sets and rare events of a release gate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import optimize, special, stats

from llm_assets.evaluation.estimates import Estimate, Floats, PValues, Sample, Values, per_document, standard_error
from llm_assets.evaluation.unconditional import paired_tails, tango_score

ROUNDING = 1e-9
"""Sums of halves are exact; what is this near to a whole number is it."""


@dataclass(frozen=True)
class Proportion(Sample):
    """A mean of scores between 0 and 1: the binomial test and Clopper and Pearson's bounds (Biometrika 26, 1934).

    Scores in between, such as half a win for a tie, are allowed. With the same mean they vary less than 0 and 1 would,
    and their sum is rounded against the claim that is tested, so that the test stays on the safe side. A row of ties
    proves nothing.
    """

    scores: Floats
    method = "exact binomial test"

    @classmethod
    def of(cls, scores: Values) -> Self:
        """From at least one score."""
        return cls(np.asarray(scores, dtype=float))

    @property
    def n(self) -> int:  # type: ignore[override]
        """Examples."""
        return len(self.scores)

    def estimate(self, confidence: float) -> Estimate:
        """The mean with exact bounds."""
        total = float(self.scores.sum())
        fewest, most = math.floor(total + ROUNDING), math.ceil(total - ROUNDING)
        low = float(special.betaincinv(fewest, self.n - fewest + 1, 1 - confidence)) if fewest else 0.0
        high = float(special.betaincinv(most + 1, self.n - most, confidence)) if most < self.n else 1.0
        return Estimate(total / self.n, standard_error(self.scores), low, high, self.n)

    def p_values(self, threshold: float) -> PValues:
        """Tails of the binomial distribution with the threshold as its rate."""
        return self._tails(self.scores.sum()[np.newaxis], threshold)

    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """Of scores as `drawn`."""
        return self._tails(self.drawn(truth, runs, random).sum(axis=0), threshold)

    def drawn(self, truth: float, runs: int, random: np.random.Generator) -> Floats:
        """Scores with this true mean and, as far as that mean allows, this sample's share of ties; shape [n, runs]."""
        ties = min(float(np.mean(self.scores == 0.5)), 2 * min(truth, 1 - truth))
        wins = truth - ties / 2
        return random.choice([1.0, 0.5, 0.0], size=(self.n, runs), p=_shares(wins, ties))

    def distance(self, threshold: float) -> float:
        """In standard deviations of a yes-or-no score, smoothed so that no example's absence is certain."""
        value = float(self.scores.mean())
        rate = (value * self.n + 1) / (self.n + 2)
        return (value - threshold) / math.sqrt(rate * (1 - rate))

    def _tails(self, totals: Floats, rate: float) -> PValues:
        fewest, most = np.floor(totals + ROUNDING), np.ceil(totals - ROUNDING)
        return PValues(stats.binom.sf(fewest - 1, self.n, rate), stats.binom.cdf(most, self.n, rate))


@dataclass(frozen=True)
class PairedProportions(Sample):
    """The difference of two models' shares on the same examples; only those on which they differ carry it.

    Against 0 this is McNemar's exact test (Psychometrika 12, 1947), against another threshold the exact test of
    `unconditional.py`. The bounds are Tango's (Statistics in Medicine 17, 1998).
    """

    gained: int
    """Examples on which only this model scores."""
    lost: int
    n: int
    rate: float | None = None
    """Of a planned comparison: the other model's share; the two err independently."""

    @classmethod
    def of(cls, scores: Values, others: Values) -> Self:
        """From 0 or 1, example by example."""
        first, second = np.asarray(scores, dtype=float), np.asarray(others, dtype=float)
        return cls(int(np.sum(first > second)), int(np.sum(first < second)), len(first))

    @classmethod
    def planned(cls, scores: Values) -> Self:
        """What to expect beside a second model that errs independently: the most the two can differ unless they avoid
        each other's errors. A model that is never or always right may be a little less so on other examples."""
        n = len(scores)
        rate = (float(np.sum(scores)) + 1) / (n + 2)
        differ = math.ceil(n * rate * (1 - rate))
        return cls(differ, differ, n, rate)

    @classmethod
    def unknown(cls, n: int) -> Self:
        """What to expect of two equals that are not known, such as a champion before the first release: right half
        of the time each, which leaves them the most to differ in."""
        return cls.planned([0.5] * n)

    @property
    def method(self) -> str:  # type: ignore[override]
        """Which test."""
        return "exact McNemar test at 0, exact unconditional test elsewhere"

    def estimate(self, confidence: float) -> Estimate:
        """The difference with Tango's score bounds, which stay open when nothing differs."""
        z = float(special.ndtri(confidence))
        value = (self.gained - self.lost) / self.n
        variance = (self.gained + self.lost) / self.n - value**2
        low, high = self._crossing(z, -1.0, value), self._crossing(-z, value, 1.0)
        return Estimate(value, math.sqrt(variance / self.n), low, high, self.n)

    def p_values(self, threshold: float) -> PValues:
        """The two tests."""
        return paired_tails(np.array([self.gained]), np.array([self.lost]), self.n, threshold)

    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """Of differences as `drawn`."""
        drawn = self.drawn(truth, runs, random)
        return paired_tails((drawn > 0).sum(axis=0), (drawn < 0).sum(axis=0), self.n, threshold)

    def drawn(self, truth: float, runs: int, random: np.random.Generator) -> Floats:
        """Differences with this true mean; shape [n, runs]. As many are not 0 as here, one more for what was not seen,
        or more if the mean takes more; of a planned comparison as many as independent errors give."""
        if self.rate is None:
            differ = min(max((self.gained + self.lost + 1) / (self.n + 1), abs(truth)), 1.0)
            gained = (differ + truth) / 2
        else:
            theirs = min(max(self.rate, -truth), 1 - truth)  # else this model would be right more or less than always
            mine = theirs + truth
            gained, differ = mine * (1 - theirs), mine * (1 - theirs) + theirs * (1 - mine)
        return random.choice([1.0, 0.0, -1.0], size=(self.n, runs), p=_shares(gained, 1 - differ))

    def distance(self, threshold: float) -> float:
        """In standard deviations of one example's difference, as if one more had differed."""
        value = (self.gained - self.lost) / self.n
        spread = max((self.gained + self.lost + 1) / (self.n + 1) - value**2, 1 / (self.n + 1))
        return (value - threshold) / math.sqrt(spread)

    def _crossing(self, target: float, left: float, right: float) -> float:
        """Where the statistic, which falls as the difference grows, takes the value `target`; an end if it does not."""

        def distance(difference: float) -> float:
            score = float(tango_score(self.gained, self.lost, self.n, difference))
            return max(min(score, 1e9), -1e9) - target

        if distance(left) <= 0:
            return left
        if distance(right) >= 0:
            return right
        return float(optimize.brentq(distance, left, right, xtol=1e-13, rtol=1e-14))


@dataclass(frozen=True)
class BoundedDifference(Sample):
    """The mean of differences between -1 and 1: of graded scores, or of documents with several examples.

    Moved into [0, 1] they are scores whose mean the binomial test bounds without knowing their spread. A bootstrap
    would need fewer, and would miss a rare and large loss.
    """

    moved: Proportion
    method = "exact binomial test of the differences, moved into [0, 1]"

    @classmethod
    def of(cls, differences: Values) -> Self:
        """From at least one difference."""
        return cls(Proportion.of([(difference + 1) / 2 for difference in differences]))

    @property
    def n(self) -> int:  # type: ignore[override]
        """Examples."""
        return self.moved.n

    def estimate(self, confidence: float) -> Estimate:
        """The mean difference with exact bounds."""
        found = self.moved.estimate(confidence)
        return Estimate(2 * found.value - 1, 2 * found.standard_error, 2 * found.low - 1, 2 * found.high - 1, self.n)

    def p_values(self, threshold: float) -> PValues:
        """The two tests."""
        return self.moved.p_values((threshold + 1) / 2)

    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """Of differences as `drawn`."""
        return self.moved.simulated((truth + 1) / 2, (threshold + 1) / 2, runs, random)

    def drawn(self, truth: float, runs: int, random: np.random.Generator) -> Floats:
        """Differences with this true mean; shape [n, runs]. None is between -1, 0 and 1, so that they are noisier."""
        return 2 * self.moved.drawn((truth + 1) / 2, runs, random) - 1

    def distance(self, threshold: float) -> float:
        """In standard deviations of a yes-or-no score."""
        return self.moved.distance((threshold + 1) / 2)


@dataclass(frozen=True)
class PartlyJudged(Sample):
    """Outcomes of which some are missing: each counts against whatever is claimed.

    A judge does not fall silent at random; an answer that makes it do so must gain nothing by it.
    """

    worst: Proportion
    """With every missing outcome lost."""
    best: Proportion
    """With every missing outcome won."""
    method = "exact binomial test; a missing judgement counts against the claim"

    @classmethod
    def of(cls, outcomes: Sequence[float | None], sources: Sequence[str] | None) -> Self:
        """From at least one outcome."""
        filled = [[missing if one is None else one for one in outcomes] for missing in (0.0, 1.0)]
        worst, best = (Proportion.of(per_document(each, sources)) for each in filled)
        return cls(worst, best)

    @property
    def n(self) -> int:  # type: ignore[override]
        """Examples, with those that were not judged."""
        return self.worst.n

    def estimate(self, confidence: float) -> Estimate:
        """The middle of what is possible, with a bound for either extreme."""
        worst, best = self.worst.estimate(confidence), self.best.estimate(confidence)
        value = (worst.value + best.value) / 2
        return Estimate(value, max(worst.standard_error, best.standard_error), worst.low, best.high, self.n)

    def p_values(self, threshold: float) -> PValues:
        """The two tests, each on the extreme that its claim likes least."""
        return PValues(self.worst.p_values(threshold).above, self.best.p_values(threshold).below)

    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """Of outcomes that are all judged."""
        return self.worst.simulated(truth, threshold, runs, random)

    def distance(self, threshold: float) -> float:
        """Of the extreme that is nearer."""
        return min(self.worst.distance(threshold), self.best.distance(threshold), key=abs)


def _shares(first: float, second: float) -> list[float]:
    """Three probabilities from two of them, clear of rounding."""
    first, second = max(first, 0.0), max(second, 0.0)
    return [first, second, max(1 - first - second, 0.0)]

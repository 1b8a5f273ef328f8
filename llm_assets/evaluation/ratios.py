"""Means and ratios of sums over examples, with a studentized bootstrap that draws whole source documents.

Perplexity is the exponential of such a ratio (nats over tokens); so is the ratio of two models' perplexities, with the
gap of their nats above. Examples from one document are not independent: they are added up before anything is drawn.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import stats

from llm_assets.evaluation.estimates import Estimate, Floats, PValues, Sample, Values

RESAMPLES = 1999
SEED = 0
SAFETY = 0.75
"""Both the studentized bootstrap and Student's t reject a true hypothesis a little more often than they say with some
fifty skewed examples (up to 1.2 times on real gaps of nats). So the larger of their p-values is divided by this."""
PLANNED_CORRELATION = 0.9
"""Of two models' scores on the same examples, before there are two models to measure; tuned and base had 0.92."""
CHUNK = 250
"""Simulated samples that are tested at once: bounds memory."""


@dataclass(frozen=True)
class RatioOfSums(Sample):
    """sum(numerators) / sum(denominators), or its exponential. At least two documents."""

    numerators: Floats
    """One per document, as are the denominators."""
    denominators: Floats
    exponential: bool = False
    paired: bool = False
    """The numerators are differences of two models, whose names could be exchanged if they were equally good."""
    method = f"studentized bootstrap of documents and Student's t, the larger p-value / {SAFETY:g}"
    runs = 4000

    @property
    def n(self) -> int:  # type: ignore[override]
        """Documents."""
        return len(self.numerators)

    @classmethod
    def of(
        cls,
        numerators: Values,
        denominators: Values,
        sources: Sequence[str] | None = None,
        *,
        exponential: bool = False,
        paired: bool = False,
    ) -> Self:
        """From one number per example each; `sources` names the document of each, by default every one its own."""
        names = sources if sources is not None else [str(index) for index in range(len(numerators))]
        _, document = np.unique(np.asarray(names), return_inverse=True)
        above, below = (
            np.bincount(document, weights=np.asarray(column, dtype=float)).astype(np.float64)
            for column in (numerators, denominators)
        )
        return cls(above, below, exponential, paired)

    def planned(self) -> "RatioOfSums":
        """What to expect of the comparison of this model with one as good: gaps that vary as those of two models
        whose scores correlate at PLANNED_CORRELATION."""
        rates = self.numerators / self.denominators
        shuffled = np.random.default_rng(SEED).permutation(rates)
        gaps = (rates - shuffled) * math.sqrt(1 - PLANNED_CORRELATION) * self.denominators
        return RatioOfSums(gaps, self.denominators, self.exponential, paired=True)

    def estimate(self, confidence: float) -> Estimate:
        """The value with the bounds at which the p-values below reach 1 - confidence."""
        value, error = self._value, self._error
        level = SAFETY * (1 - confidence)
        drawn = self._bootstrapped
        student = float(stats.t.isf(level, len(self.numerators) - 1))
        rank = min(math.ceil((1 - level) * (RESAMPLES + 1)), RESAMPLES) - 1
        upper = float(drawn[rank])
        lower = float(drawn[RESAMPLES - 1 - rank])
        low, high = value - max(upper, student) * error, value - min(lower, -student) * error
        if self.exponential:
            return Estimate(math.exp(value), math.exp(value) * error, math.exp(low), math.exp(high), self.n)
        return Estimate(value, error, low, high, self.n)

    def p_values(self, threshold: float) -> PValues:
        """The two tests."""
        return _p_values(self.numerators[:, np.newaxis], self.denominators[:, np.newaxis], self._scale(threshold))

    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """Of samples of documents drawn from this one, moved to the true value. Two models that are compared and
        equally good exchange names at random, so that nothing tells them apart."""
        left = self.numerators - self._value * self.denominators
        documents = random.integers(0, len(left), size=(len(left), runs))
        noise, weight = left[documents], self.denominators[documents]
        if self.paired and self._scale(truth) == 0:
            noise = noise * random.choice([-1.0, 1.0], size=noise.shape)
        moved, target = noise + self._scale(truth) * weight, self._scale(threshold)
        parts = [
            _p_values(moved[:, start : start + CHUNK], weight[:, start : start + CHUNK], target)
            for start in range(0, runs, CHUNK)
        ]
        return PValues(np.concatenate([p.above for p in parts]), np.concatenate([p.below for p in parts]))

    def distance(self, threshold: float) -> float:
        """In standard deviations of one example."""
        error = self._error * math.sqrt(self.n)
        return (self._value - self._scale(threshold)) / error if error else math.inf

    @property
    def _value(self) -> float:
        return float(self.numerators.sum() / self.denominators.sum())

    @property
    def _error(self) -> float:
        left = self.numerators - self._value * self.denominators
        count = len(left)
        return math.sqrt(count / (count - 1) * float(left @ left)) / float(self.denominators.sum())

    @property
    def _bootstrapped(self) -> Floats:
        """The studentized statistic of every resample, sorted."""
        statistic = _studentized(self.numerators[:, np.newaxis], self.denominators[:, np.newaxis])
        return np.sort(statistic[:, 0])

    def _scale(self, value: float) -> float:
        return math.log(value) if self.exponential else value


def _p_values(numerators: Floats, denominators: Floats, threshold: float) -> PValues:
    """Of many samples at once: columns of shape [documents, samples]."""
    count = len(numerators)
    value = numerators.sum(axis=0) / denominators.sum(axis=0)
    left = numerators - value * denominators
    error = np.sqrt(count / (count - 1) * (left**2).sum(axis=0)) / denominators.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(np.abs(value - threshold) < 1e-12, 0.0, (value - threshold) / error)
    drawn = _studentized(numerators, denominators)
    above = (1 + (drawn >= observed).sum(axis=0)) / (RESAMPLES + 1)
    below = (1 + (drawn <= observed).sum(axis=0)) / (RESAMPLES + 1)
    student = stats.t.sf(observed, count - 1), stats.t.cdf(observed, count - 1)
    return PValues(
        np.minimum(np.maximum(above, student[0]) / SAFETY, 1.0), np.minimum(np.maximum(below, student[1]) / SAFETY, 1.0)
    )


def _studentized(numerators: Floats, denominators: Floats) -> Floats:
    """(value of a resample - value) / standard error of the resample; shape [RESAMPLES, samples]."""
    count, times = len(numerators), _draws(len(numerators))
    value = numerators.sum(axis=0) / denominators.sum(axis=0)
    total, weight = times @ numerators, times @ denominators
    drawn = total / weight
    squares = (
        times @ numerators**2 - 2 * drawn * (times @ (numerators * denominators)) + drawn**2 * (times @ denominators**2)
    )
    error = np.sqrt(count / (count - 1) * np.maximum(squares, 0.0)) / weight
    difference = drawn - value
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = difference / error
    # a resample without any spread says nothing about the tails unless it lies elsewhere
    return np.where(np.abs(difference) < 1e-12, 0.0, statistic)


@functools.lru_cache(maxsize=8)
def _draws(count: int) -> Floats:
    """How often each of `count` documents is in each resample; the same for every sample of that size."""
    random = np.random.default_rng(SEED)
    return random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)

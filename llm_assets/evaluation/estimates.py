"""What a handful of examples says about a model: an estimate, its standard error and one-sided bounds.

Plain statistics on numbers, from scipy and numpy where they have it; nothing here knows what was measured. Every bound
holds one-sided with the given confidence, each: an interval of two of them covers less. Estimates are deterministic.
Only child processes import this module (scipy).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Values = Sequence[float]
RESAMPLES = 9999
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and a lower and an upper bound."""

    value: float
    standard_error: float
    low: float
    high: float
    n: int


def proportion(scores: Values, confidence: float) -> Estimate:
    """Mean of scores between 0 and 1 with Wilson's score bounds (Wilson 1927).

    Scores in between, such as half a win for a tie, are allowed: with the same mean they vary less than 0 and 1 would
    (at most p(1-p), Bhatia and Davis 2000), so that the bounds are conservative. Unlike bounds from the sample's own
    variance they stay open when all scores are equal, so that a row of ties proves nothing.

    Args:
        scores: at least one, each in [0, 1].
        confidence: of each bound.
    """
    array = np.asarray(scores, dtype=float)
    n, p = len(array), float(array.mean())
    z = float(special.ndtri(confidence))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(p * (1 - p), 0) / n + z * z / (4 * n * n))
    return Estimate(p, _standard_error(array), max(centre - half, 0.0), min(centre + half, 1.0), n)


def paired_difference(scores: Values, others: Values, confidence: float) -> Estimate:
    """Difference of two proportions on the same examples with Tango's score bounds (Statistics in Medicine 17, 1998).

    Only the examples on which the two differ carry the value; the bounds stay open when there are none.

    Args:
        scores, others: 0 or 1, example by example.
        confidence: of each bound.
    """
    first, second = np.asarray(scores, dtype=float), np.asarray(others, dtype=float)
    n = len(first)
    gained, lost = int(np.sum(first > second)), int(np.sum(first < second))
    z = float(special.ndtri(confidence))
    value = (gained - lost) / n
    low = _crossing(gained, lost, n, z, -1.0, value)
    high = _crossing(gained, lost, n, -z, value, 1.0)
    return Estimate(value, _standard_error(first - second), low, high, n)


def bootstrapped(
    statistic: Callable[..., NDArray[np.float64]], columns: Sequence[Values], confidence: float
) -> Estimate:
    """A statistic of whole examples with percentile bounds from `RESAMPLES` resampled sets of examples (seed fixed).

    Args:
        statistic: takes the columns as arrays and an `axis` to reduce.
        columns: one number per example each; the same examples are drawn from all of them, so comparisons are paired.
            At least two examples.
        confidence: of each bound.
    """
    arrays = [np.asarray(column, dtype=float) for column in columns]
    drawn = stats.bootstrap(
        arrays,
        statistic,
        n_resamples=RESAMPLES,
        batch=500,
        vectorized=True,
        paired=True,
        confidence_level=2 * confidence - 1,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    interval = drawn.confidence_interval
    value = float(statistic(*arrays, axis=-1))
    return Estimate(value, float(drawn.standard_error), float(interval.low), float(interval.high), len(arrays[0]))


def _standard_error(array: NDArray[np.float64]) -> float:
    return float(array.std()) / math.sqrt(len(array))


def _score(difference: float, gained: int, lost: int, n: int) -> float:
    """Tango's statistic: standard normal if the true difference is `difference` (his equations 10 and 11)."""
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    rare = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * rare + difference * (1 - difference))
    distance = gained - lost - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


def _crossing(gained: int, lost: int, n: int, target: float, left: float, right: float) -> float:
    """Where the statistic, which falls as the difference grows, takes the value `target`; an end if it never does."""

    def distance(difference: float) -> float:
        return max(min(_score(difference, gained, lost, n), 1e9), -1e9) - target

    if distance(left) <= 0:
        return left
    if distance(right) >= 0:
        return right
    return float(optimize.brentq(distance, left, right, xtol=1e-13, rtol=1e-14))

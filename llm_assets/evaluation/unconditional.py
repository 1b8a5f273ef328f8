"""The exact unconditional test of two shares on the same examples, around a margin.

Outcomes are ordered by Tango's score (Statistics in Medicine 17, 1998), and the p-value is the largest chance over the
nuisance parameter, as in Suissa and Shuster (Biometrics 47, 1991). Against 0 it is McNemar's, which has none.
"""

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from llm_assets.evaluation.estimates import Floats, PValues

ENUMERATED = 1000
"""Examples up to which the unconditional test lists all outcomes (1000 take some seconds); with more it adds up the
chance of those beyond a score, see `tail_p_value`."""
NUISANCE_POINTS = 97
BETWEEN = 12
"""Points that are looked at beside each of the best."""
BETWEEN_POINTS = 1.01
"""By which its p-values are raised, since the largest one may lie between two points of the nuisance parameter."""
SCORES = np.arange(-2.0, 8.0, 0.03)
"""At which the unconditional test is tabled where outcomes are too many to list; between two the lower one counts."""
CERTAIN = 1e-9
"""A distance below it is none."""


def tango_score(gained: Any, lost: Any, n: int, difference: float) -> Floats:
    """Tango's statistic: about standard normal if the true difference is `difference` (his equations 10 and 11)."""
    gained, lost = np.asarray(gained, dtype=float), np.asarray(lost, dtype=float)
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    rare = (np.sqrt(np.maximum(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * rare + difference * (1 - difference))
    distance = gained - lost - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        score = distance / np.sqrt(variance)
    certain = np.where(np.abs(distance) < CERTAIN, 0.0, np.copysign(np.inf, distance))
    return np.where(variance > 1e-12, score, certain)


def paired_tails(gained: Any, lost: Any, n: int, threshold: float) -> PValues:
    """The two tests of many outcomes at once: examples on which only one of two models scores, shape [outcomes]."""
    return PValues(_surely_above(gained, lost, n, threshold), _surely_above(lost, gained, n, -threshold))


def _surely_above(gained: Any, lost: Any, n: int, threshold: float) -> Floats:
    """p-values of the hypothesis that the true difference is the threshold or less."""
    if threshold == 0:
        return np.asarray(stats.binom.sf(gained - 1, gained + lost, 0.5))
    if n > ENUMERATED:
        return _tails_beyond(tango_score(gained, lost, n, threshold), n, threshold)
    return unconditional_p_values(n, threshold)[gained, lost]


@functools.lru_cache(maxsize=64)
def unconditional_p_values(n: int, threshold: float) -> Floats:
    """The exact test for every outcome: shape [n + 1, n + 1], by examples gained and lost; NaN where there is none."""
    gained, lost = (index.ravel() for index in np.indices((n + 1, n + 1)))
    gained, lost = gained[gained + lost <= n], lost[gained + lost <= n]
    score = np.round(tango_score(gained, lost, n, threshold), 9)
    order = np.argsort(-score, kind="stable")
    last_of_ties = np.searchsorted(-score[order], -score[order], side="right") - 1
    ways = special.gammaln(n + 1) - sum(special.gammaln(count + 1) for count in (gained, lost, n - gained - lost))
    largest = np.zeros(len(order))
    for q in _nuisance_points(threshold, NUISANCE_POINTS):
        shares = (q + threshold, q, max(1 - 2 * q - threshold, 0.0))
        counts = (gained, lost, n - gained - lost)
        chance = np.exp(ways + sum(special.xlogy(count, share) for count, share in zip(counts, shares, strict=True)))
        np.maximum(largest, np.cumsum(chance[order])[last_of_ties], out=largest)
    table = np.full((n + 1, n + 1), np.nan)
    table[gained[order], lost[order]] = np.minimum(largest * BETWEEN_POINTS, 1.0)
    return table


def _tails_beyond(scores: Floats, n: int, threshold: float) -> Floats:
    """p-values of outcomes by their Tango scores: of a few their own, of many from the table."""
    distinct, places = np.unique(scores, return_inverse=True)
    if len(distinct) <= 4:
        return np.array([tail_p_value(score, n, threshold) for score in distinct])[places]
    below = np.searchsorted(SCORES, scores, side="right") - 1
    return np.where(below < 0, 1.0, _tabled(n, threshold)[below])


@functools.lru_cache(maxsize=16)
def _tabled(n: int, threshold: float) -> Floats:
    return np.array([tail_p_value(score, n, threshold) for score in SCORES])


def tail_p_value(score: float, n: int, threshold: float) -> float:
    """The exact unconditional test of one outcome: the largest chance, over the nuisance parameter, of its score.

    For each number of examples lost the score grows with those gained, so that the outcomes beyond are a sum over one
    of the two.
    """
    lost = np.arange(n + 1)
    fewest = _fewest_gained(score, n, threshold)
    ways = special.gammaln(n + 1) - special.gammaln(lost + 1) - special.gammaln(n - lost + 1)

    def chance_beyond(q: float) -> float:
        spread = 9 * math.sqrt(n * q * (1 - q)) + 9  # what lies beyond has a chance below 1e-15
        near = lost[max(math.floor(n * q - spread), 0) : math.ceil(n * q + spread) + 1]
        gains = min((q + threshold) / (1 - q), 1.0) if q < 1 else 0.0
        chance = np.exp(ways[near] + special.xlogy(near, q) + special.xlog1py(n - near, -q))
        needed, room = fewest[near], n - near
        beyond = special.betainc(np.maximum(needed, 1), np.maximum(room - needed + 1, 1), gains)
        return float(chance @ np.where(needed < 1, 1.0, np.where(needed > room, 0.0, beyond)))

    points = _nuisance_points(threshold, 2 * NUISANCE_POINTS)
    chances = [chance_beyond(q) for q in points]
    largest = max(chances)
    for place in np.argsort(chances)[-3:]:  # and between, where it is largest
        around = points[max(place - 1, 0)], points[min(place + 1, len(points) - 1)]
        largest = max(largest, *(chance_beyond(q) for q in np.linspace(*around, BETWEEN)))
    return min(largest * BETWEEN_POINTS, 1.0)


def _nuisance_points(threshold: float, count: int) -> Floats:
    """Shares of lost examples, closest where it matters most: near the ends, where few are lost or few are alike."""
    lowest, highest = max(0.0, -threshold), (1 - threshold) / 2
    return np.asarray(lowest + (highest - lowest) * (1 - np.cos(np.linspace(0, math.pi, count))) / 2)


def _fewest_gained(score: float, n: int, threshold: float) -> NDArray[np.int_]:
    """For each number of examples lost, shape [n + 1], the fewest gained that reach a score; too many if none do."""
    lost = np.arange(n + 1)
    low, high = np.zeros(n + 1, dtype=int), n - lost + 1
    for _ in range(n.bit_length() + 1):
        middle = (low + high) // 2
        reached = np.round(tango_score(np.minimum(middle, n - lost), lost, n, threshold), 9) >= round(score, 9)
        open_ = low < high
        high = np.where(open_ & reached, middle, high)
        low = np.where(open_ & ~reached, middle + 1, low)
    return high

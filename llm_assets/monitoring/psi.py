"""The population stability index and the value that counts as drift. numpy only.

PSI = sum over bins of (q - p) ln(q / p), p and q the shares of the training data and of the window (Siddiqi, Credit
Risk Scorecards, 2006; it is the symmetric Kullback-Leibler divergence). The customary bounds 0.1 and 0.25 mean nothing
at a fixed n: PSI of two samples of one distribution is about chi-squared with bins - 1 degrees of freedom times
(1/n + 1/N) (Yurdakul, 2018). So the bound is simulated for the window's own n and the training data's own N.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

PSEUDO_COUNT = 0.5
"""Added to every bin, so that an empty one gives a finite PSI."""
SIMULATIONS = 20_000
OTHER = "other"


@dataclass(frozen=True)
class Bins:
    """Shared bins of one feature, made from the training data: edges of a number, or names of a category."""

    edges: tuple[float, ...] = ()
    """Upper ends, inclusive, of all bins but the last, which is open."""
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """One label per bin, for people."""
        if self.names:
            return list(self.names)
        return [*(f"≤ {edge:.4g}" for edge in self.edges), f"> {self.edges[-1]:.4g}"]

    def count(self, values: Sequence[float] | Sequence[str]) -> Counts:
        """How many values fall into each bin."""
        if self.names:
            place = {name: index for index, name in enumerate(self.names)}
            where = np.array([place.get(str(value), len(self.names) - 1) for value in values], dtype=np.int64)
        else:
            where = np.searchsorted(np.array(self.edges), np.array(values, dtype=np.float64), side="left")
        return np.bincount(where, minlength=len(self.labels)).astype(np.int64)


def number_bins(values: Sequence[float], bins: int) -> Bins:
    """Bins of about equal shares; fewer where many values are equal."""
    inner = np.quantile(np.array(values, dtype=np.float64), np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    return Bins(edges=tuple(float(edge) for edge in np.unique(inner)))


def category_bins(values: Sequence[str], bins: int) -> Bins:
    """The most frequent categories, and one bin for all others."""
    frequent = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    return Bins(names=(*(name for name, _ in frequent[: bins - 1] if name != OTHER), OTHER))


def psi(training: Counts, window: Counts) -> Floats:
    """PSI in nats over the last axis; leading axes broadcast."""
    p, q = _shares(training), _shares(window)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def calibrated_bound(training: Counts, n: int, confidence: float, features: int, seed: int = 0) -> float:
    """The PSI that a window of n drawn like the training data stays at or below.

    Training data and window are both resampled from the training data's shares: a bound for a window against a training
    set that were exact would be too low for large windows.

    Args:
        training: counts per bin.
        confidence: that no feature of a window without drift goes above its bound.
        features: how many are looked at; the error is divided by them (Bonferroni).
    """
    random = np.random.default_rng(seed)
    shares = _shares(training)
    trainings = random.multinomial(int(training.sum()), shares, size=SIMULATIONS)
    windows = random.multinomial(n, shares, size=SIMULATIONS)
    quantile = 1 - (1 - confidence) / features
    return float(np.quantile(psi(trainings, windows), quantile, method="higher"))


def _shares(counts: Counts) -> Floats:
    smoothed = counts + PSEUDO_COUNT
    shares: Floats = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return shares

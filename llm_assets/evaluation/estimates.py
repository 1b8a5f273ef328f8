"""What a handful of examples says about a model: an estimate with its bounds, and p-values against a threshold.

A `Sample` is the measured numbers of one metric, of one model or of two on the same examples. Its kinds are in
`proportions.py` and `ratios.py`: plain statistics, from scipy where it has them, that know nothing of what was
measured. Everything is deterministic. Only child processes import these modules (scipy).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

Values = Sequence[float] | NDArray[np.float64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and a lower and an upper bound. Each bound holds one-sided with the confidence that
    was asked for: an interval of the two covers less."""

    value: float
    standard_error: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PValues:
    """Two one-sided tests against a threshold; of one sample, or of many simulated ones."""

    above: Floats
    """Of the hypothesis that the true value is the threshold or less: small if it is surely above."""
    below: Floats
    """Of the hypothesis that the true value is the threshold or more."""


class Sample(ABC):
    """The measured numbers of one metric."""

    n: int
    """Examples; those of one document count once."""
    method: str
    """Which test its p-values come from, for people."""
    runs: ClassVar[int] = 20_000
    """Simulated samples that say how often the test rejects a true hypothesis; fewer where each takes long."""

    @abstractmethod
    def estimate(self, confidence: float) -> Estimate:
        """The value and its bounds, each at this confidence."""

    @abstractmethod
    def p_values(self, threshold: float) -> PValues:
        """The two tests against a threshold."""

    @abstractmethod
    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """The p-values against `threshold` of `runs` samples of this size and noise whose true value is `truth`."""

    @abstractmethod
    def distance(self, threshold: float) -> float:
        """How far the value is from a threshold, in standard deviations of one example."""

    def needed(self, threshold: float, level: float, miss: float) -> int | None:
        """Examples at which a test at `level` decides with probability 1 - `miss` if the measured value is the true
        one (normal approximation); more than there are, and None if the value is the threshold itself."""
        distance = abs(self.distance(threshold))
        if not distance or not math.isfinite(distance):
            return None
        z = float(special.ndtri(1 - level) + special.ndtri(1 - miss))
        return max(math.ceil((z / distance) ** 2), self.n + 1)


def standard_error(array: Floats) -> float:
    """Of the mean of independent values."""
    return float(array.std()) / math.sqrt(len(array))


def per_document(numbers: Values, sources: Sequence[str] | None) -> list[float]:
    """The mean of each document's numbers, in the order in which the documents come first.

    Args:
        sources: the document of each number; None: every one has its own.
    """
    if sources is None:
        return list(numbers)
    found: dict[str, list[float]] = {}
    for number, source in zip(numbers, sources, strict=True):
        found.setdefault(source, []).append(number)
    return [sum(own) / len(own) for own in found.values()]

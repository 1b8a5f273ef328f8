"""Holm's correction of p-values that are looked at together."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def holm(ratios: Floats) -> Floats:
    """p-values corrected for being looked at together, as Holm does (Scandinavian Journal of Statistics 6, 1979).

    Each p-value comes divided by its own level, and is significant if the result is at most 1. Among true hypotheses
    one is called significant with a probability of at most the largest level.

    Args:
        ratios: p / level, shape [hypotheses, ...]; corrected along the first axis.
    """
    count = len(ratios)
    order = np.argsort(ratios, axis=0, kind="stable")
    factors = np.arange(count, 0, -1).reshape(-1, *([1] * (ratios.ndim - 1)))
    stepped = np.maximum.accumulate(np.take_along_axis(ratios, order, axis=0) * factors, axis=0)
    corrected = np.empty_like(stepped)
    np.put_along_axis(corrected, order, stepped, axis=0)
    return corrected

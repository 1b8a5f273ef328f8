"""What the tasks with graded scores share: a score between 0 and 1 per sample, a mean per set."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llm_assets.evaluation.estimates import Estimate, bootstrapped, paired_difference, proportion
from llm_assets.evaluation.task import Score, Task, values


class MeanTask(Task):
    """A task whose samples score from 0 to 1: alone their mean, against another model the difference of the means."""

    def alone(self, scores: Sequence[Score], confidence: float) -> Estimate | None:
        """The mean with Wilson's bounds, which hold for graded scores too (see `proportion`)."""
        found = values(scores)
        return proportion(found, confidence) if found else None

    def versus(self, scores: Sequence[Score], others: Sequence[Score], confidence: float) -> Estimate | None:
        """This model's mean minus the other's, paired; bounds by a paired bootstrap. None below two examples.

        Where every score is 0 or 1 the bounds are Tango's, as for other yes-or-no tasks. Where all differences are
        equal a bootstrap would be sure of them; then the differences, moved into [0, 1], get Wilson's open bounds.
        """
        mine, theirs = values(scores), values(others)
        if not mine or not theirs or len(mine) < 2:
            return None
        if {*mine, *theirs} <= {0.0, 1.0}:
            return paired_difference(mine, theirs, confidence)
        gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
        if len(set(gaps)) > 1:
            return bootstrapped(_mean, [gaps], confidence)
        moved = proportion([(gap + 1) / 2 for gap in gaps], confidence)
        return Estimate(gaps[0], 0.0, 2 * moved.low - 1, 2 * moved.high - 1, len(gaps))


def _mean(gaps: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(gaps.mean(axis=axis))

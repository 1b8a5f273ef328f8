"""What the yes-or-no tasks share: a score of 0 or 1 per sample, a proportion per set."""

from collections.abc import Sequence

from llm_assets.evaluation.estimates import Estimate, paired_difference, proportion
from llm_assets.evaluation.task import Score, Task, values


class BinaryTask(Task):
    """A task whose samples score 0 or 1: alone their share, against another model the difference of the shares."""

    def alone(self, scores: Sequence[Score], confidence: float) -> Estimate | None:
        """The share of ones, with Wilson's bounds."""
        found = values(scores)
        return proportion(found, confidence) if found else None

    def versus(self, scores: Sequence[Score], others: Sequence[Score], confidence: float) -> Estimate | None:
        """This model's share minus the other's, paired, with Tango's bounds."""
        mine, theirs = values(scores), values(others)
        return paired_difference(mine, theirs, confidence) if mine and theirs else None

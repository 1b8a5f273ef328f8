"""What most tasks share: a score between 0 and 1 per sample, a mean per set."""

from collections.abc import Sequence

from llm_assets.evaluation.estimates import Sample, per_document
from llm_assets.evaluation.proportions import BoundedDifference, PairedProportions, Proportion
from llm_assets.evaluation.task import Score, Task, values


class BoundedTask(Task):
    """A task whose samples score from 0 to 1: alone their mean, against another model the difference of the means.

    Examples of one document are not independent: each document counts once, with its mean.
    """

    @property
    def graded(self) -> bool:
        """Whether a sample may score between 0 and 1. Then the test allows for it, also where no score happens to: a
        test that depends on what was scored could not be calibrated before."""
        return False

    def sample(
        self, scores: Sequence[Score], others: Sequence[Score] | None = None, sources: Sequence[str] | None = None
    ) -> Sample | None:
        """The mean, or the paired difference of the means."""
        mine, theirs = values(scores), values(others) if others is not None else None
        if mine is None or (others is not None and theirs is None):
            return None
        if theirs is None:
            return Proportion.of(per_document(mine, sources))
        whole = len(set(sources or range(len(mine)))) == len(mine)
        if whole and not self.graded and {*mine, *theirs} <= {0.0, 1.0}:
            return PairedProportions.of(mine, theirs)
        return BoundedDifference.of(per_document([a - b for a, b in zip(mine, theirs, strict=True)], sources))

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Two models that are as good and err independently, or of graded scores two that differ on every example."""
        found = values(scores)
        if found is None:
            return None
        whole = len(set(sources or range(len(found)))) == len(found)
        if whole and not self.graded and set(found) <= {0.0, 1.0}:
            return PairedProportions.planned(found)
        return BoundedDifference.of([(-1.0) ** index for index in range(len(per_document(found, sources)))])

"""What the yes-or-no tasks share: a score of 0 or 1 per sample, a proportion per set."""

from collections.abc import Sequence

from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.proportions import PairedProportions, Proportion
from llm_assets.evaluation.task import Score, Task, values


class BinaryTask(Task):
    """A task whose samples score 0 or 1: alone their share, against another model the difference of the shares."""

    def sample(
        self, scores: Sequence[Score], others: Sequence[Score] | None = None, sources: Sequence[str] | None = None
    ) -> Sample | None:
        """The share of ones, or the paired difference of the shares."""
        mine = values(scores)
        if mine is None:
            return None
        if others is None:
            return Proportion.of(mine)
        theirs = values(others)
        return PairedProportions.of(mine, theirs) if theirs else None

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Two models that are as good and err independently."""
        found = values(scores)
        return PairedProportions.planned(found) if found else None

"""What the tasks with graded scores share: a score between 0 and 1 per sample, a mean per set."""

from collections.abc import Sequence

from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.proportions import PairedProportions, Proportion
from llm_assets.evaluation.ratios import RatioOfSums
from llm_assets.evaluation.task import Score, Task, values


class MeanTask(Task):
    """A task whose samples score from 0 to 1: alone their mean, against another model the difference of the means.

    Where every score is 0 or 1 it is tested as a yes-or-no task is.
    """

    def sample(
        self, scores: Sequence[Score], others: Sequence[Score] | None = None, sources: Sequence[str] | None = None
    ) -> Sample | None:
        """The mean, or the paired difference of the means; a graded one needs two documents."""
        mine = values(scores)
        if mine is None:
            return None
        if others is None:
            return Proportion.of(mine)
        theirs = values(others)
        if theirs is None:
            return None
        if {*mine, *theirs} <= {0.0, 1.0}:
            return PairedProportions.of(mine, theirs)
        gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
        return _mean(gaps, sources, paired=True)

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """Two models that are as good: yes-or-no scores err independently, graded ones are alike."""
        found = values(scores)
        if found is None:
            return None
        if {*found} <= {0.0, 1.0}:
            return PairedProportions.planned(found)
        alone = _mean(found, sources)
        return alone.planned() if alone else None


def _mean(numbers: Sequence[float], sources: Sequence[str] | None, paired: bool = False) -> RatioOfSums | None:
    if len(set(sources or range(len(numbers)))) < 2:
        return None
    return RatioOfSums.of(numbers, [1.0] * len(numbers), sources, paired=paired)

"""What the tasks with graded scores share: a score between 0 and 1 per sample, a mean per set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_assets.evaluation.estimates import Estimate, PValues, Sample, Values
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
        """The mean, with the tests of `Proportion`, which hold for graded scores too; or the paired difference."""
        mine = values(scores)
        if mine is None:
            return None
        if others is None:
            return Proportion.of(mine)
        theirs = values(others)
        return _difference(mine, theirs, sources) if theirs else None

    def planned(self, scores: Sequence[Score], sources: Sequence[str] | None = None) -> Sample | None:
        """A second model that is as good: erring independently where scores are 0 or 1, else with scores alike."""
        found = values(scores)
        if found is None:
            return None
        if set(found) <= {0.0, 1.0}:
            return PairedProportions.planned(found)
        if len(set(sources or range(len(found)))) < 2:
            return None
        return _open(RatioOfSums.of(found, [1.0] * len(found), sources).planned())


def _difference(mine: Values, theirs: Values, sources: Sequence[str] | None) -> Sample | None:
    """By a bootstrap of documents, of which it takes two; of scores that are all 0 or 1 as yes-or-no tasks do."""
    if {*mine, *theirs} <= {0.0, 1.0}:
        return PairedProportions.of(mine, theirs)
    if len(set(sources or range(len(mine)))) < 2:
        return None
    gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
    return _open(RatioOfSums.of(gaps, [1.0] * len(gaps), sources, paired=True))


def _open(gaps: RatioOfSums) -> Sample:
    means = gaps.numerators / gaps.denominators
    return gaps if np.ptp(means) > 0 else EqualGaps(Proportion((means + 1) / 2), gaps.n)


@dataclass(frozen=True)
class EqualGaps(Sample):
    """Differences between two models that are the same in every document, of which a bootstrap would be certain.

    Moved from [-1, 1] into [0, 1] they are scores whose mean a binomial test bounds without knowing their spread.
    """

    moved: Proportion
    """One score per document."""
    n: int
    method = "exact binomial test of the differences, moved into [0, 1]"

    def estimate(self, confidence: float) -> Estimate:
        """The difference with bounds that stay open."""
        found = self.moved.estimate(confidence)
        return Estimate(2 * found.value - 1, 2 * found.standard_error, 2 * found.low - 1, 2 * found.high - 1, self.n)

    def p_values(self, threshold: float) -> PValues:
        """The two tests."""
        return self.moved.p_values((threshold + 1) / 2)

    def simulated(self, truth: float, threshold: float, runs: int, random: np.random.Generator) -> PValues:
        """Of yes-or-no draws with the true difference, the noisiest there are."""
        return self.moved.simulated((truth + 1) / 2, (threshold + 1) / 2, runs, random)

    def distance(self, threshold: float) -> float:
        """In standard deviations of a yes-or-no score."""
        return self.moved.distance((threshold + 1) / 2)

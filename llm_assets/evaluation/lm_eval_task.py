"""A task of lm-evaluation-harness, scored document by document by the library itself."""

import math

from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.bounded import BoundedTask

RIGHT_OR_WRONG = frozenset({"acc", "acc_norm", "exact_match"})
"""Metrics of the library that give a document 0 or 1, but for a few tasks with several right choices, whose fractions
are seen in the scores themselves; others may give something between."""


class LmEval(BoundedTask):
    """The mean of one of the task's metrics over its documents, each from 0 to 1; higher is better.

    The library scored the documents when it asked the model (`llm_assets/harness.py`); here one metric is chosen. A
    document that has no number from 0 to 1 for it leaves the set without the metric.
    """

    name = "lm_eval"
    kind = "lm_eval"
    sample_score = "lm_eval_score"
    better = "higher"

    def __init__(self, metric: str) -> None:
        """Args:
        metric: `acc`, or with the name of a filter `exact_match,strict-match`; without one the task's first filter.
        """
        self.metric = metric

    @property
    def graded(self) -> bool:
        """Unless the metric is known to be right or wrong."""
        return self.metric.split(",")[0] not in RIGHT_OR_WRONG

    @property
    def identity(self) -> str:
        """Which metric was chosen."""
        return self.metric

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """The document's score; NaN, with the reason, if it has none."""
        given = test_case.metadata["given"]
        matching = [value for name, value in given.items() if self.metric in (name, name.split(",")[0])]
        value = matching[0] if matching else None
        if value is None or not 0 <= value <= 1:
            self.reason = f"{self.metric} is {value}, not a number from 0 to 1; the task gives {', '.join(given)}"
            self.score = math.nan
        else:
            self.score = value
        return self.score

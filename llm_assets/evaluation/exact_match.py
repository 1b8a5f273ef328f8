"""Exact match: does a model's short answer say what one of the accepted answers says?"""

from deepeval.test_case import LLMTestCase

from llm_assets.data.text import answer_form
from llm_assets.evaluation.bounded import BoundedTask


def first_line(text: str) -> str:
    """The first line with a word in it; empty if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


class ExactMatch(BoundedTask):
    """The share of greedy answers that match an accepted one exactly; higher is better.

    What must match is the answer's whole first line, in SQuAD's normal form (`answer_form`): "The Eiffel Tower!"
    matches "eiffel tower", and "It is the Eiffel Tower" does not, since a longer answer may take back what it says.
    What stands on later lines is not looked at.
    """

    name = "exact_match"
    kind = "questions"
    sample_score = "matched"
    better = "higher"

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """1 if the first line matches an accepted answer; the reason holds what was compared where it does not."""
        said = answer_form(first_line(test_case.actual_output or ""))
        accepted = [answer_form(answer) for answer in test_case.metadata["answers"]]
        self.score = float(said in accepted)
        self.reason = "" if self.score else f"{said!r} is none of {', '.join(map(repr, accepted))}"
        return self.score

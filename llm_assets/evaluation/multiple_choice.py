"""Accuracy on multiple-choice questions: does a model find the right choice likelier than every other one?"""

import math

from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.bounded import BoundedTask


class MultipleChoice(BoundedTask):
    """The share of questions whose right choice has the highest mean log-likelihood per token; higher is better.

    A choice is measured as the assistant's whole answer, with the token that ends its turn. Normalised by length
    because a sum favours short choices: per token, where `acc_norm` of lm-evaluation-harness (Gao et al. 2024) divides
    by the choice's bytes. A right choice that is only as likely as another one was not told apart and scores 0.
    """

    name = "accuracy"
    kind = "multiple_choice"
    sample_score = "right"
    better = "higher"

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """1 if the right choice is the likeliest; the reason names the chosen one, in nats per token."""
        choices, right = test_case.metadata["choices"], test_case.metadata["answer"]
        losses = [test_case.metadata["losses"][str(index)] for index in range(len(choices))]
        means = [math.nan if total is None else total / tokens for total, tokens in losses]
        if any(math.isnan(mean) for mean in means):
            self.reason = "a choice has no finite likelihood"
            self.score = math.nan
            return self.score
        chosen = min(range(len(means)), key=means.__getitem__)
        tied = sum(mean == means[chosen] for mean in means) > 1
        self.score = float(chosen == right and not tied)
        self.reason = f"chose {choices[chosen]!r} ({means[chosen]:.2f} nats per token)"
        if tied:
            self.reason += ", tied with another"
        elif chosen != right:
            self.reason += f", right is {choices[right]!r} ({means[right]:.2f})"
        return self.score

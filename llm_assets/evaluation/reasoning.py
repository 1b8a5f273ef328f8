"""Reasoning: is the final answer right, as reasoning-gym's own verifier says (Stojanovski et al. 2025)?"""

import functools
import re
from importlib.metadata import version
from typing import Any

from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.bounded import BoundedTask
from llm_assets.evaluation.task import is_missing, version_of
from resources.errors import EvaluationError


def final_answer(output: str) -> str:
    """What an output gives as its answer: behind its last `Answer:`, to the end of that line; else its last line.

    `answer is:` counts as well, as chat models write it. A mark with nothing behind it on its line takes the next line
    with a word in it.
    """
    marked = re.split(r"answer(?:\s+is)?\s*[:：]", output, flags=re.IGNORECASE)
    lines = [line.strip() for line in marked[-1].splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[0] if len(marked) > 1 else lines[-1]


class Reasoning(BoundedTask):
    """The share of problems whose final answer is verified as entirely right; higher is better.

    A verifier may give part of a point for an answer that is nearly right or wrapped in words. Here only 1.0 counts:
    what the share says is how often an answer can be used as it is, but for a full stop behind it. A verifier that
    breaks on an answer has not verified it; one that breaks on the entry's own answer, too, can verify nothing.
    """

    name = "reasoning"
    kind = "reasoning"
    sample_score = "verified"
    better = "higher"

    @property
    def identity(self) -> str:
        """Another version of the verifiers, or of what they compute with, may judge otherwise."""
        packages = ("reasoning-gym", "sympy")
        return " ".join(version_of(package, self.name, "llm-assets[reasoning]") for package in packages)

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """1 if the verifier gives the final answer 1.0; the reason holds the answer and what it got otherwise."""
        answer = final_answer(test_case.actual_output or "")
        entry = test_case.metadata["entry"]
        verifier = _verifier(test_case.metadata["task"])
        try:
            given = max(float(verifier.score_answer(form, entry)) for form in (answer, answer.removesuffix(".")))
        except Exception as error:  # foreign verifiers meet hostile text; one that breaks verifies nothing
            if is_missing(error) or not _verifies(verifier, entry):
                raise EvaluationError(
                    f"the verifier of {test_case.metadata['task']} can't judge entry {test_case.name}, whatever the "
                    f"answer ({type(error).__name__}: {error}); correct the entry, or install what is missing."
                ) from error
            self.score = 0.0
            self.reason = f"checker broke on {answer!r} ({type(error).__name__})"
            return self.score
        self.score = float(given == 1.0)
        self.reason = "" if self.score else f"{answer!r} got {given:.2f}, right is {entry['answer']!r}"
        return self.score


def _verifies(verifier: Any, entry: dict[str, Any]) -> bool:
    """Whether a verifier can judge any answer to an entry: at least the entry's own."""
    try:
        verifier.score_answer(entry["answer"], entry)
    except Exception:  # noqa: BLE001 - what a foreign verifier raises on its own answer is the finding
        return False
    return True


@functools.cache
def _verifier(task: str) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        raise EvaluationError(
            f"reasoning-gym {version('reasoning-gym')} has no task {task!r}; correct the set's `task` in the registry."
        )
    return reasoning_gym.create_dataset(task, size=1, seed=0)

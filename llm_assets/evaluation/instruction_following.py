"""Instruction following: does an answer keep to instructions a program can verify (IFBench, Pyatkin et al. 2025)?"""

import functools
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from deepeval.test_case import LLMTestCase

from llm_assets.evaluation.bounded import BoundedTask
from llm_assets.evaluation.task import is_missing, version_of
from resources.errors import EvaluationError

READ_WITH = ("emoji", "langdetect", "nltk", "syllapy")
"""Packages by which the checkers find words, sentences and languages."""


class InstructionFollowing(BoundedTask):
    """The share of prompts whose every instruction is followed to the letter (strict, per prompt); higher is better."""

    name = "instruction_following"
    kind = "instructions"
    sample_score = "followed"
    better = "higher"

    @property
    def identity(self) -> str:
        """Another version of the checkers, or of what they read words with, may judge otherwise."""
        used = [version_of(package, self.name, "llm-assets[ifbench]") for package in READ_WITH]
        return " ".join([version_of("if-verifiable", self.name, "the group `materials`"), *used])

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """1 if all instructions are followed; the reason names those that are not, and checkers that broke."""
        problems = []
        for name, arguments in zip(test_case.metadata["instruction_ids"], test_case.metadata["arguments"], strict=True):
            problem = _problem(name, arguments, test_case.input, test_case.actual_output or "")
            if problem:
                problems.append(problem)
        self.reason = "; ".join(problems)
        self.score = float(not problems)
        return self.score


def _problem(name: str, arguments: Mapping[str, Any], prompt: str, answer: str) -> str:
    """Why an instruction does not count as followed; empty if it does.

    Raises:
        EvaluationError: nothing can be checked, whatever the answer: no such checker, arguments that do not fit it, or
            something that it needs is not installed.
    """
    checker = _checker(name, arguments, prompt)
    if not answer.strip():
        return f"{name}: no answer"
    try:
        return "" if checker.check_following(answer) else f"{name}: not followed"
    except Exception as error:  # foreign checkers meet hostile text; one that breaks has not passed
        if is_missing(error):
            raise EvaluationError(
                f"the checker of {name} can't run, something is not installed ({_brief(error)}); install that where "
                "evaluations run (NLTK data: `python -m nltk.downloader`), or leave the instruction out of the set."
            ) from error
        return f"{name}: checker broke ({_brief(error)})"


def _checker(name: str, arguments: Mapping[str, Any], prompt: str) -> Any:
    checker_type = _checkers().get(name)
    if checker_type is None:
        raise EvaluationError(
            f"if-verifiable {version('if-verifiable')} has no checker {name!r}; correct the set's `instruction_ids`."
        )
    given = {key: value for key, value in arguments.items() if value is not None}
    try:
        checker = checker_type(name)
        checker.build_description(**given)
        if "prompt" in (checker.get_instruction_args() or {}):  # some compare the answer with what was asked
            checker.build_description(**{**given, "prompt": prompt})
    except Exception as error:
        raise EvaluationError(
            f"the checker of {name} can't take {dict(arguments)} ({_brief(error)}); correct the set's `arguments`."
        ) from error
    return checker


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()).strip('* ')[:120]}"


@functools.cache
def _checkers() -> dict[str, Any]:
    """IFBench's checkers, without what importing them usually does: load `datasets`, and download NLTK data."""
    try:
        import nltk
    except ImportError as error:
        raise EvaluationError("instruction_following needs nltk; install llm-assets[ifbench].") from error
    spec = find_spec("if_verifiable")
    if spec is None:
        raise EvaluationError("instruction_following needs the package if-verifiable; install the group `materials`.")
    package = ModuleType("if_verifiable")  # stands for the package, so that its own __init__ is not run
    package.__path__ = list(spec.submodule_search_locations or [])
    download, nltk.download = nltk.download, lambda *_, **__: False
    sys.modules["if_verifiable"] = package
    try:
        registry = import_module("if_verifiable.ifbench.instructions_registry")
    except ImportError as error:
        raise EvaluationError(f"instruction_following needs {error.name}; install llm-assets[ifbench].") from error
    finally:
        nltk.download = download
        del sys.modules["if_verifiable"]
    return dict(registry.INSTRUCTION_DICT)

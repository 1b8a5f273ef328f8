"""A user's own exam: inputs and references in the registry, and a Python function that a line names."""

import hashlib
import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from deepeval.test_case import LLMTestCase

from llm_assets.data.text import answer_form
from llm_assets.evaluation.bounded import BoundedTask
from llm_assets.evaluation.exact_match import first_line
from resources.errors import EvaluationError

Scorer = Callable[..., Any]
"""Takes `input`, `output` and `reference`; returns a score from 0 to 1, or whether the output is right."""


class Custom(BoundedTask):
    """The mean of a user's own scores from 0 (worst) to 1; higher is better.

    Without a function a sample scores 1 if its answer matches the reference as in `exact_match`. A function that
    raises, or returns anything but a number from 0 to 1, leaves its sample without a score, and the set without its
    metric. One that is declared `-> bool` says right or wrong only, and pairs are tested by that.
    """

    name = "custom"
    kind = "custom"
    sample_score = "score"
    better = "higher"

    def __init__(self, function: str = "", source: Path | None = None) -> None:
        """Args:
        function: as the line names it; empty for an exact match.
        source: its file as it was when the evaluation set was read.

        Raises:
            EvaluationError: the function can't be loaded.
        """
        self.function = function
        self.source = source
        self.scorer = load_function(function, source) if function and source else _matches
        self.yes_or_no = _is_declared_bool(self.scorer)

    @property
    def graded(self) -> bool:
        """Unless the function's signature says that it is not."""
        return not self.yes_or_no

    @property
    def identity(self) -> str:
        """Changes with the function's name and source."""
        return f"{self.function} {_digest(self.source)}" if self.source else ""

    def measure(self, test_case: LLMTestCase, *args: object, **kwargs: object) -> float:
        """What the function returns; NaN, with the reason, if that is no score."""
        texts = {"output": test_case.actual_output or "", "reference": test_case.expected_output or ""}
        try:
            given = self.scorer(input=test_case.input, **texts)
            given = given.item() if isinstance(given, np.generic) else given
        except Exception as error:  # noqa: BLE001 - a user's code; that it broke is said beside the sample
            self.reason = f"{self.function} raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self.score = math.nan
            return self.score
        number = isinstance(given, bool | int | float)
        if number and (given in (0, 1) if self.yes_or_no else 0 <= given <= 1):
            self.score = float(given)
        else:
            wanted = "True or False, as its signature says" if self.yes_or_no else "a number from 0 to 1"
            self.reason = f"{self.function} returned {given!r:.100}, not {wanted}"
            self.score = math.nan
        return self.score


def load_function(named: str, source: Path) -> Scorer:
    """The function that a line names.

    A file runs as it was read into the evaluation set. A module is imported by its name, for what it imports beside
    itself, and must still be the one that was read.

    Raises:
        EvaluationError: it can't be imported, has changed since, or is no function.
    """
    place, name = named.rsplit(":", 1)
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"custom_{_digest(source)[:16]}", source)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        found = getattr(module, name)
    except Exception as error:  # a user's code can raise anything while it is imported
        raise EvaluationError(f"function {named} can't be loaded ({type(error).__name__}: {error}); fix it.") from error
    if not place.endswith(".py") and _digest(Path(str(module.__file__))) != _digest(source):
        raise EvaluationError(f"function {named} has changed since evaluation_sets was made; materialize that again.")
    if not callable(found):
        raise EvaluationError(f"function {named} is {type(found).__name__}, not a function; correct the line.")
    scorer: Scorer = found
    return scorer


def _matches(*, input: str, output: str, reference: str) -> bool:  # noqa: A002, ARG001 (the signature of a scorer)
    wanted = answer_form(reference)
    return wanted != "" and answer_form(first_line(output)) == wanted


def _is_declared_bool(function: Scorer) -> bool:
    try:
        return inspect.signature(function).return_annotation in (bool, "bool")
    except (TypeError, ValueError):  # not every callable has a signature
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

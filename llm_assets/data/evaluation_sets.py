"""Evaluation sets: their formats, and reading them without ever shortening an exam silently.

A training row that is broken is quarantined; an evaluation set with one broken line is refused as a whole.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from llm_assets.data.checkers import RUNS_ANSWERS, RUNS_ENTRIES, instruction_ids, reasoning_tasks
from llm_assets.data.text import answer_form
from llm_assets.records.data import EvaluationKind
from resources.errors import DataError


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("there is no text in it")
    return text


Filled = Annotated[str, AfterValidator(_filled)]


class _Example(BaseModel):
    """What all kinds have; further keys are kept and ignored."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    id: Filled
    source: Filled | None = None
    """The document that the example comes from; default: one of its own."""


class _Labelled(_Example):
    category: Filled


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Literal["system", "user", "assistant"]
    content: Filled


class _Chat(_Labelled):
    messages: list[_Message]
    language: Filled

    @model_validator(mode="after")
    def _takes_turns(self) -> "_Chat":
        roles = " ".join(message.role for message in self.messages)
        if not re.fullmatch(r"(system )?(user assistant ?)+", roles):
            raise ValueError(
                f"roles are {roles or '(none)'}, allowed are an optional system, then user and assistant in turn"
            )
        return self


class _Toxicity(_Labelled):
    prompt: Filled


class _Truthfulness(_Labelled):
    prompt: str
    true: Filled
    false: Filled

    @model_validator(mode="after")
    def _differs(self) -> "_Truthfulness":
        if self.true.strip() == self.false.strip():
            raise ValueError("true and false are the same statement")
        return self


class _Instructions(_Labelled):
    prompt: Filled
    instruction_ids: Annotated[list[Filled], Field(min_length=1)]
    arguments: list[dict[str, Any]]

    @model_validator(mode="after")
    def _has_arguments(self) -> "_Instructions":
        if len(self.arguments) != len(self.instruction_ids):
            raise ValueError(f"{len(self.instruction_ids)} instruction_ids but {len(self.arguments)} arguments")
        return self

    @model_validator(mode="after")
    def _can_be_checked(self) -> "_Instructions":
        known = instruction_ids()
        unknown = [name for name in self.instruction_ids if known and name not in known]
        if unknown:
            raise ValueError(f"no checker of IFBench for the instruction {unknown[0]!r}")
        return self


class _MultipleChoice(_Labelled):
    prompt: Filled
    choices: Annotated[list[Filled], Field(min_length=2)]
    answer: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _has_an_answer(self) -> "_MultipleChoice":
        if self.answer >= len(self.choices):
            raise ValueError(f"answer is {self.answer}, the choices count from 0 to {len(self.choices) - 1}")
        if len({choice.strip() for choice in self.choices}) < len(self.choices):
            raise ValueError("two choices are the same")
        return self


class _Questions(_Labelled):
    prompt: Filled
    answers: Annotated[list[Filled], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_matched(self) -> "_Questions":
        for answer in self.answers:
            _require_form(answer)
        return self


class _Entry(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    question: Filled
    answer: Filled
    metadata: dict[str, Any]


class _Reasoning(_Labelled):
    prompt: Filled
    task: Filled
    entry: _Entry

    @model_validator(mode="after")
    def _is_verified_safely(self) -> "_Reasoning":
        made_by = self.entry.metadata.get("source_dataset", self.task)
        if made_by != self.task:
            raise ValueError(f"task is {self.task!r}, but the entry was made by {made_by!r}")
        if self.task in RUNS_ANSWERS:
            raise ValueError(f"the verifier of {self.task} runs a model's answer as Python; use another task")
        if self.task in RUNS_ENTRIES:
            raise ValueError(f"the verifier of {self.task} runs what the row says as Python; use another task")
        if reasoning_tasks() and self.task not in reasoning_tasks():
            raise ValueError(f"reasoning-gym has no task {self.task!r}")
        return self


class _Refusals(_Labelled):
    prompt: Filled
    should_refuse: bool = True


class _Custom(_Example):
    input: Filled
    reference: str


class _Matched(_Custom):
    """Without a function the answer must match."""

    @model_validator(mode="after")
    def _can_be_matched(self) -> "_Matched":
        _require_form(self.reference)
        return self


def _require_form(answer: str) -> None:
    if not answer_form(answer):
        raise ValueError(f"nothing of the answer {answer!r} is left without articles and punctuation")


FORMATS: dict[EvaluationKind, type[_Example]] = {
    "chat": _Chat,
    "toxicity": _Toxicity,
    "truthfulness": _Truthfulness,
    "instructions": _Instructions,
    "multiple_choice": _MultipleChoice,
    "questions": _Questions,
    "reasoning": _Reasoning,
    "refusals": _Refusals,
    "custom": _Custom,
}
"""The documents of an lm_eval task have lm-eval-harness's own formats, see `llm_assets/harness.py`."""


def read_examples(
    files: Mapping[str, Path], kind: EvaluationKind, limit: int | None, function: str = ""
) -> list[dict[str, Any]]:
    """All examples of the files, or the `limit` ones with the lowest sha256 of their id; sorted by id.

    Args:
        files: name in the registry -> path.
        function: of a custom set what scores it; empty for an exact match with the references.

    Raises:
        DataError: a line breaks the format or repeats an id; names file and line.
    """
    format_ = _Matched if kind == "custom" and not function else FORMATS[kind]
    examples: dict[str, dict[str, Any]] = {}
    for name, path in sorted(files.items()):
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            example = _example(line, kind, format_, f"evaluation set {name}, line {number}")
            if example["id"] in examples:
                raise DataError(
                    f"evaluation set {name}, line {number}: id {example['id']!r} occurs twice; make ids unique."
                )
            examples[example["id"]] = example
    if not examples:
        raise DataError(f"evaluation set {', '.join(sorted(files))} holds no example; publish some first.")
    chosen = sorted(examples, key=lambda key: hashlib.sha256(key.encode()).digest())[:limit]
    return [examples[key] for key in sorted(chosen)]


def dump_examples(examples: list[dict[str, Any]]) -> bytes:
    """JSONL in one spelling, so that equal examples give equal bytes."""
    return "".join(json.dumps(example, ensure_ascii=False, sort_keys=True) + "\n" for example in examples).encode()


def _example(line: bytes, kind: EvaluationKind, format_: type[_Example], place: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        format_.model_validate(value)
        json.dumps(value, ensure_ascii=False).encode()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        problem = f"{where}: {first['msg'].removeprefix('Value error, ')}"
        raise DataError(f"{place}: {problem}; a {kind} set needs {_keys(kind)}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is not UTF-8 JSON ({error}); repair the line and publish again.") from error
    result: dict[str, Any] = value
    return result


def _keys(kind: EvaluationKind) -> str:
    return ", ".join(name for name, field in FORMATS[kind].model_fields.items() if field.is_required())


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")

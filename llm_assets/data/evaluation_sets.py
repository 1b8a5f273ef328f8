"""Evaluation sets: their formats, and reading them without ever shortening an exam silently.

A training row that is broken is quarantined; an evaluation set with one broken line is refused as a whole.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llm_assets.records import EvaluationKind
from resources.errors import DataError

Filled = Annotated[str, Field(pattern=r"\S")]


class _Example(BaseModel):
    """What all kinds have; further keys are kept and ignored."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    id: Filled
    category: Filled


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Literal["system", "user", "assistant"]
    content: Filled


class _Chat(_Example):
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


class _Toxicity(_Example):
    prompt: Filled


class _Truthfulness(_Example):
    prompt: str
    true: Filled
    false: Filled

    @model_validator(mode="after")
    def _differs(self) -> "_Truthfulness":
        if self.true.strip() == self.false.strip():
            raise ValueError("true and false are the same statement")
        return self


class _Instructions(_Example):
    prompt: Filled
    instruction_ids: Annotated[list[Filled], Field(min_length=1)]
    arguments: list[dict[str, Any]]

    @model_validator(mode="after")
    def _has_arguments(self) -> "_Instructions":
        if len(self.arguments) != len(self.instruction_ids):
            raise ValueError(f"{len(self.instruction_ids)} instruction_ids but {len(self.arguments)} arguments")
        return self


FORMATS: dict[EvaluationKind, type[_Example]] = {
    "chat": _Chat,
    "toxicity": _Toxicity,
    "truthfulness": _Truthfulness,
    "instructions": _Instructions,
}


def read_examples(files: Mapping[str, Path], kind: EvaluationKind, limit: int | None) -> list[dict[str, Any]]:
    """All examples of the files, or the `limit` ones with the lowest sha256 of their id; sorted by id.

    Args:
        files: name in the registry -> path.

    Raises:
        DataError: a line breaks the format or repeats an id; names file and line.
    """
    examples: dict[str, dict[str, Any]] = {}
    for name, path in sorted(files.items()):
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            example = _example(line, kind, f"evaluation set {name}, line {number}")
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


def _example(line: bytes, kind: EvaluationKind, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        FORMATS[kind].model_validate(value)
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
    return ", ".join(FORMATS[kind].model_fields)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")

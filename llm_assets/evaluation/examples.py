"""The examples of an evaluation set: what a model is asked, and what its answer is measured against.

Reads set.jsonl of an `EvaluationSet`. How rows get there, and what a valid row is, belongs to the data stage.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llm_assets.records.data import EvaluationKind, EvaluationSet
from resources.errors import DataError

SLICED_BY = ("language", "category")
TARGETS: dict[EvaluationKind, tuple[str, ...]] = {
    "toxicity": (),
    "truthfulness": ("true", "false"),
    "instructions": ("instruction_ids", "arguments"),
    "multiple_choice": ("choices", "answer"),
    "questions": ("answers",),
    "reasoning": ("task", "entry"),
    "refusals": ("should_refuse",),
    "custom": (),
    "lm_eval": ("document", "task"),
}
"""Kind -> which keys of a row its task needs beside prompt and reference."""
GENERATED: frozenset[EvaluationKind] = frozenset(
    {"chat", "toxicity", "instructions", "questions", "reasoning", "refusals", "custom"}
)
"""Kinds to whose prompts a model generates an answer."""
DEFAULTS: dict[str, Any] = {"should_refuse": True}
"""Of keys that a row may leave out."""


@dataclass(frozen=True)
class Example:
    """One example, of any kind."""

    id: str
    messages: list[dict[str, str]]
    """The conversation before the answer; empty where only statements are compared."""
    reference: str = ""
    """The human answer, where the set has one."""
    slices: tuple[str, ...] = ()
    """For example ("language=english", "category=sports")."""
    target: dict[str, Any] = field(default_factory=dict)
    """What else the kind brings, see `TARGETS`."""
    source: str = ""
    """The document that the example comes from; default: its own id. Examples of one document are not independent, and
    neither are those of one prompt, to which a model generates one answer: `read_examples` gives them one source."""

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(self, "source", self.id)

    @property
    def prompt(self) -> str:
        """What was asked, for people."""
        return self.messages[-1]["content"] if self.messages else ""


def read_examples(folder: Path, evaluation_set: EvaluationSet) -> list[Example]:
    """The examples of a set, by id hash; of more than `size`, the ones with the lowest.

    Sources that share a prompt, themselves or through others, become one.

    Raises:
        DataError: a row is broken, an id occurs twice, or there are fewer rows than the record says.
    """
    path = folder / "set.jsonl"
    examples: dict[str, Example] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                example = _example(evaluation_set.kind, json.loads(line))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise DataError(
                    f"{path}:{number}: not an example of kind {evaluation_set.kind} "
                    f"({type(error).__name__}: {error}); correct the row in the registry."
                ) from error
            if example.id in examples:
                raise DataError(f"{path}:{number}: id {example.id!r} occurs twice; every example needs its own.")
            examples[example.id] = example
    if len(examples) < evaluation_set.size or not examples:
        raise DataError(f"{path} holds {len(examples)} examples, expected {evaluation_set.size}; pull the set again.")
    chosen = sorted(examples, key=lambda key: hashlib.sha256(key.encode()).hexdigest())[: evaluation_set.size]
    return _joined([examples[key] for key in chosen], evaluation_set.kind)


def _joined(examples: list[Example], kind: EvaluationKind) -> list[Example]:
    """The examples with one source wherever a source or a prompt connects them (union-find).

    Where likelihoods are compared, the same prompt with other choices is another question.
    """
    above: dict[str, str] = {}

    def top(source: str) -> str:
        while (higher := above.setdefault(source, source)) != source:
            above[source] = source = above[higher]
        return source

    first: dict[str, str] = {}
    for example in examples:
        if example.messages:
            asked = [example.messages] if kind in GENERATED else [example.messages, example.target]
            other = first.setdefault(json.dumps(asked), example.source)
            above[top(example.source)] = top(other)
    return [replace(example, source=top(example.source)) for example in examples]


def _example(kind: EvaluationKind, row: Mapping[str, Any]) -> Example:
    slices = tuple(f"{name}={row[name]}" for name in SLICED_BY if row.get(name))
    source = row.get("source") or ""
    if kind == "chat":
        *messages, answer = row["messages"]
        if answer["role"] != "assistant" or not messages:
            raise ValueError("the last message must be the assistant's answer to an earlier one")
        return Example(row["id"], messages, answer["content"], slices, source=source)
    prompt = row["input" if kind == "custom" else "prompt"]
    messages = [{"role": "user", "content": prompt}] if prompt else []
    target = {key: row.get(key, DEFAULTS[key]) if key in DEFAULTS else row[key] for key in TARGETS[kind]}
    return Example(row["id"], messages, _reference(kind, row), slices, target, source)


def _reference(kind: EvaluationKind, row: Mapping[str, Any]) -> str:
    """What is right, as far as one text can say it."""
    if kind == "multiple_choice":
        return str(row["choices"][row["answer"]])
    if kind == "questions":
        return " | ".join(row["answers"])
    if kind == "reasoning":
        return str(row["entry"]["answer"])
    return str(row["reference"]) if kind in ("custom", "lm_eval") else ""

"""What a model says to the examples of a set: its answers, and how likely it finds the given ones.

The solver of the evaluation, and the only part that runs the language model. What an output is worth is for the tasks.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_assets.evaluation.examples import Example
from llm_assets.records.data import EvaluationKind
from llm_assets.records.record import Record
from resources.store import Artifact

MAXIMUM_TOKENS = 1024
"""Of a conversation whose answer is measured; a longer one loses its oldest tokens."""
FILE = "outputs.jsonl"


class Subject(Record):
    """A model under evaluation: everything that decides what it says."""

    base: Artifact
    adapter: Artifact | None
    """None is the base model itself."""
    system: str


class Outputs(Record):
    """What one subject said to one set."""

    rows: Artifact
    """outputs.jsonl, in the order of the examples."""


@dataclass(frozen=True)
class Output:
    """What one model said to one example."""

    id: str
    text: str = ""
    """The greedy answer, where one was asked for."""
    losses: dict[str, tuple[float | None, int]] = field(default_factory=dict)
    """Which given answer -> its summed negative log-likelihood in nats, and its tokens. A model with broken weights
    gives no finite one: None."""
    given: dict[str, float | None] = field(default_factory=dict)
    """Which metric -> what lm-eval-harness gave the answer, where it asked."""


@dataclass(frozen=True)
class Solver:
    """A loaded model that is asked."""

    model: Any
    tokenizer: Any
    system: str
    batch_size: int
    progress: Callable[[int], Any]
    """Called with the number of answers just finished."""

    def solve(self, kind: EvaluationKind, examples: Sequence[Example], max_new_tokens: int) -> list[Output]:
        """The outputs that the tasks of this kind of set need, in the order of the examples."""
        if kind == "multiple_choice":
            return self._chosen(examples)
        texts = [""] * len(examples) if kind == "truthfulness" else self._texts(examples, max_new_tokens)
        losses: list[dict[str, tuple[float | None, int]]] = [{} for _ in examples]
        if kind == "chat":
            self._measure(losses, "reference", [self._answered(e, e.reference) for e in examples])
        elif kind == "truthfulness":
            for side in ("true", "false"):
                self._measure(losses, side, [self._answered(e, e.target[side]) for e in examples])
        return [Output(e.id, text, loss) for e, text, loss in zip(examples, texts, losses, strict=True)]

    def _texts(self, examples: Sequence[Example], max_new_tokens: int) -> list[str]:
        from llm_assets.generation import generate
        from llm_assets.language_model import encode_chat

        prompts = [encode_chat(self.tokenizer, example.messages, self.system) for example in examples]
        return generate(self.model, self.tokenizer, prompts, max_new_tokens, self.batch_size, self.progress)

    def run_harness(self, folder: Path, examples: Sequence[Example]) -> list[Output]:
        """The outputs to an lm_eval task, asked and scored by lm-eval-harness; `folder` holds the evaluation set."""
        from llm_assets.harness import run_task

        numbers = [example.target["document"] for example in examples]
        results = run_task(folder, numbers, self.model, self.tokenizer, self.system, self.batch_size)
        self.progress(len(examples))
        return [Output(e.id, text, given=given) for e, (text, given) in zip(examples, results, strict=True)]

    def _chosen(self, examples: Sequence[Example]) -> list[Output]:
        """How likely each choice is as the answer."""
        from llm_assets.choices import choice_losses

        questions = []
        for example in examples:
            answered = [self._answered(example, choice) for choice in example.target["choices"]]
            # A question too long for one of its choices is cut for all of them alike.
            question = min((ids[:start] for ids, start in answered), key=len)
            questions.append((question, [ids[start:] for ids, start in answered]))
        found = choice_losses(self.model, self.tokenizer, questions, self.batch_size, self.progress)
        return [
            Output(e.id, losses={str(index): (_finite(loss), len(ids)) for index, (loss, ids) in enumerate(branches)})
            for e, branches in zip(
                examples,
                (zip(losses, question[1], strict=True) for losses, question in zip(found, questions, strict=True)),
                strict=True,
            )
        ]

    def _answered(self, example: Example, answer: str) -> tuple[list[int], int]:
        """A conversation that ends with this answer; a statement without a question is plain text, as in a book."""
        from llm_assets.language_model import encode_example

        if example.messages:
            messages = [*example.messages, {"role": "assistant", "content": answer}]
            return encode_example(self.tokenizer, messages, self.system, MAXIMUM_TOKENS)
        ids: list[int] = self.tokenizer.encode(answer, add_special_tokens=False)
        return [self.tokenizer.eos_token_id, *ids[: MAXIMUM_TOKENS - 1]], 1

    def _measure(
        self, losses: list[dict[str, tuple[float | None, int]]], name: str, examples: list[tuple[list[int], int]]
    ) -> None:
        from llm_assets.language_model import answer_losses

        measured = answer_losses(self.model, self.tokenizer, examples, self.batch_size, self.progress)
        for loss, (total, tokens) in zip(losses, measured, strict=True):
            loss[name] = (_finite(total), tokens)


def _finite(loss: float) -> float | None:
    return loss if abs(loss) < float("inf") else None


def answers_wanted(kind: EvaluationKind, examples: int) -> int:
    """How often `Solver.progress` counts for a set: generated and measured answers."""
    return examples * (2 if kind in ("chat", "truthfulness") else 1)


def write_outputs(outputs: Sequence[Output]) -> bytes:
    """The content of outputs.jsonl."""
    return b"".join(
        json.dumps(vars(output), ensure_ascii=False, allow_nan=False).encode() + b"\n" for output in outputs
    )


def read_outputs(folder: Path) -> list[Output]:
    """The rows of outputs.jsonl."""
    with (folder / FILE).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Output(row["id"], row["text"], {k: (loss[0], loss[1]) for k, loss in row["losses"].items()}, row["given"])
        for row in rows
    ]

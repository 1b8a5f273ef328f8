"""Every sample of an evaluation: what was asked, what each model said, and what it scored."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.outputs import Output
from llm_assets.evaluation.task import Score, Task


@dataclass(frozen=True)
class Measured:
    """One evaluation set after every model was asked and scored; all lists in the order of the examples."""

    set_name: str
    examples: Sequence[Example]
    said: dict[str, list[Output]]
    """Model -> its outputs."""
    tasks: Sequence[Task]
    scores: dict[str, dict[str, list[Score]]]
    """Task -> model -> its scores; of a pairwise task: opponent -> the candidate's outcomes against it."""

    def rows(self) -> list[dict[str, Any]]:
        """One row per example: `output_MODEL`, `losses_MODEL`, and a column for each score and its note.

        `messages` and `target`, as JSON, are all that was asked and all that counts as right beside the reference.
        """
        return [self._row(index, example) for index, example in enumerate(self.examples)]

    def _row(self, index: int, example: Example) -> dict[str, Any]:
        row: dict[str, Any] = {
            "set": self.set_name,
            "id": example.id,
            "prompt": example.prompt or _statements(example),
            "messages": json.dumps(example.messages, ensure_ascii=False),
            "reference": example.reference,
            "target": json.dumps(example.target, ensure_ascii=False),
            "slices": ", ".join(example.slices),
        }
        row |= {f"output_{model}": outputs[index].text for model, outputs in self.said.items()}
        row |= {f"losses_{model}": _losses(outputs[index]) for model, outputs in self.said.items()}
        for task in self.tasks:
            for model, scores in self.scores[task.name].items():
                row[f"{task.sample_score}_{model}"] = scores[index].value
                row[f"{task.name}_note_{model}"] = scores[index].reason
        return row


def _statements(example: Example) -> str:
    """What was compared where nothing was asked, for people."""
    return " / ".join(example.target[side] for side in ("true", "false") if side in example.target)


def _losses(output: Output) -> str | None:
    """Given answer -> nats and tokens, as JSON; None where nothing was given."""
    return json.dumps(output.losses) if output.losses else None


def parquet(measured: Sequence[Measured]) -> bytes:
    """samples.parquet: the rows of all sets; columns that a set does not have are null."""
    import polars as pl

    frames = [pl.DataFrame(one.rows(), infer_schema_length=None) for one in measured]
    buffer = io.BytesIO()
    pl.concat(frames, how="diagonal_relaxed").write_parquet(buffer)
    return buffer.getvalue()


def extremes(measured: Measured, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of a chat set, the examples on which the candidate gains most on the base, and those on which it loses most."""
    rows = sorted(measured.rows(), key=lambda row: _gain(row), reverse=True)
    won = [row for row in rows if _gain(row) > 0][:count]
    lost = [row for row in reversed(rows) if _gain(row) < 0][:count]
    return won, lost


def _gain(row: dict[str, Any]) -> float:
    if row.get("outcome_against_base") is not None:  # a judge of pairs
        return float(row["outcome_against_base"]) - 0.5
    return (row.get("similarity_candidate") or 0.0) - (row.get("similarity_base") or 0.0)

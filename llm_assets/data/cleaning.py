"""From indexed rows to a dataset: what is left out and why, what trains and what validates, and the files.

Every row gets exactly one outcome, so the counts reconcile by construction:
`train`, `validation`, `duplicate`, or the reason why it is rejected.
"""

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llm_assets.data.contract import chat_contract
from llm_assets.data.reading import index_file
from llm_assets.data.text import falls_below

TRAIN, VALIDATION, DUPLICATE = "train", "validation", "duplicate"
CONTAMINATION, DUPLICATE_ID = "contamination", "duplicate_id"


@dataclass(frozen=True)
class Rows:
    """Every row that was read: `rows` has the columns of `reading.INDEX`, `shard` and `outcome`."""

    files: Sequence[Path]
    names: Sequence[str]
    rows: pl.DataFrame
    contaminated: int
    """Good rows whose answer is one of an evaluation set."""

    def counts(self) -> dict[str, int]:
        """Outcome -> rows."""
        return dict(self.rows.group_by("outcome").len().sort("outcome").iter_rows())

    def kept(self, column: str) -> dict[str, int]:
        """Value of a column -> rows that train or validate."""
        kept = self.rows.filter(pl.col("outcome").is_in([TRAIN, VALIDATION]))
        return dict(kept.group_by(column).len().sort(column).iter_rows())


def read_rows(
    files: Mapping[str, Path],
    *,
    maximum_characters: int,
    languages: Sequence[str],
    validation_fraction: float,
    exam_answers: frozenset[bytes],
) -> Rows:
    """Read files of chat records and decide about every row.

    A row that repeats the answer of a chat evaluation set, whatever its prompt, is contamination: the held-out
    records are split off by answer, since an answer that was learned with another prompt is known all the same.

    Args:
        files: name -> path; the order of names decides which of two rows with one id is the first.
        exam_answers: text keys of the answers of all chat evaluation sets.
    """
    contract = chat_contract(maximum_characters, languages)
    names = sorted(files)
    indexes = [
        index_file(files[name], contract).with_columns(shard=pl.lit(i, pl.UInt32)) for i, name in enumerate(names)
    ]
    rows = pl.concat(indexes)
    exams = pl.Series(sorted(exam_answers), dtype=pl.Binary)
    leaked = pl.col("reason").is_null() & pl.col("answer").is_in(exams.implode())
    contaminated = rows.select(leaked.sum()).item()
    rows = rows.with_columns(reason=pl.when(leaked).then(pl.lit(CONTAMINATION)).otherwise("reason"))
    rows = _mark(rows, pl.col("pair") != pl.col("pair").first().over("id"), DUPLICATE_ID)
    # of equal rows the lowest id stays, so that moving rows between files changes nothing
    rows = _mark(rows.sort("id", "shard", "line"), pl.col("pair").is_first_distinct().not_(), DUPLICATE)
    validates = pl.Series([falls_below(key, validation_fraction) if key else False for key in rows["answer"]])
    split = pl.when(validates).then(pl.lit(VALIDATION)).otherwise(pl.lit(TRAIN))
    rows = rows.with_columns(outcome=pl.coalesce("reason", split)).sort("shard", "line")
    return Rows([files[name] for name in names], names, rows, contaminated)


def _mark(rows: pl.DataFrame, condition: pl.Expr, reason: str) -> pl.DataFrame:
    """Give the reason to those good rows for which the condition, evaluated among good rows, holds."""
    good = rows.filter(pl.col("reason").is_null())
    marked = good.with_columns(reason=pl.when(condition).then(pl.lit(reason)).otherwise("reason"))
    return pl.concat([rows.filter(pl.col("reason").is_not_null()), marked])


def write_dataset(rows: Rows, folder: Path) -> None:
    """Write train.jsonl and validation.jsonl: the lines as they were read, sorted by id."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in (TRAIN, VALIDATION):
        chosen = rows.rows.filter(pl.col("outcome") == outcome).sort("id")
        with (folder / f"{outcome}.jsonl").open("wb") as file:
            for line in _lines(rows, chosen):
                file.write(line.strip() + b"\n")


def write_quarantine(rows: Rows, path: Path) -> None:
    """Write file, line number, reason and raw text of every row that was left out, in the order they were read.

    Bytes that are not UTF-8 are written as `\\xNN`.
    """
    chosen = rows.rows.filter(pl.col("outcome").is_in([TRAIN, VALIDATION]).not_())
    with path.open("w", encoding="utf-8") as file:
        places = chosen.select("shard", "line", "outcome").iter_rows()
        for (shard, number, reason), line in zip(places, _lines(rows, chosen), strict=True):
            raw = line.decode("utf-8", "backslashreplace")
            row = {"file": rows.names[shard], "line": number, "reason": reason, "raw": raw}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _lines(rows: Rows, chosen: pl.DataFrame) -> Iterator[bytes]:
    with ExitStack() as stack:
        maps = []
        for path in rows.files:
            file = stack.enter_context(path.open("rb"))
            maps.append(stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        for shard, offset, length in chosen.select("shard", "offset", "length").iter_rows():
            yield maps[shard][offset : offset + length]

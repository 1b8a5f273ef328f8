"""Reading JSONL chat records: every line of a file becomes one row of an index, with a reason if it is refused.

The index does not hold texts, only where a line is, so data of any size fits in memory. Clean stretches of a file are
parsed by polars at once; a stretch with something odd is read again in smaller pieces, and only those line by line.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandera.polars as pa
import polars as pl

from llm_assets.data.contract import SCHEMA, violations
from llm_assets.data.text import text_key

BLOCK_BYTES = 32 << 20
PIECE_LINES = 500
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
INDEX = {
    "line": pl.UInt64,
    "offset": pl.UInt64,
    "length": pl.UInt64,
    "reason": pl.String,
    "id": pl.String,
    "category": pl.String,
    "language": pl.String,
    "answer": pl.Binary,
    "pair": pl.Binary,
}
"""`line` counts from 1; `offset` and `length` are bytes; `answer` and `pair` are the text keys of the answer alone and
of all messages. `reason` is null for a good record."""
_KEYS = frozenset({"id", "messages", "category", "language", "role", "content"})
_KEY = r'"(?:id|messages|category|language|role|content)"\s*:'
_ODD = r'"(?:id|category|language|role|content)"\s*:\s*[^"\s]|\\u(?:[dD][89a-fA-F]|00[0-7])'
"""A value that is no string, which polars would turn into one; a surrogate, which it would turn into NUL; or an escaped
ASCII character, with which a second key of the contract's can be spelled so that counting keys does not find it."""
_MANY_BRACKETS = 500
"""In one line. What nests deeper than Python's json can follow has more, and polars would take it."""


def index_file(path: Path, contract: pa.DataFrameSchema) -> pl.DataFrame:
    """One row per line of a file that is not blank, in the columns of `INDEX`."""
    parts = [_index_block(first, offset, lines, contract) for first, offset, lines in _blocks(path)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=INDEX)


def _blocks(path: Path) -> Iterator[tuple[int, int, list[bytes]]]:
    """Number of the first line, offset and lines of each stretch of about `BLOCK_BYTES`."""
    number, offset = 1, 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            block += file.readline()
            lines = block.split(b"\n")
            if not lines[-1]:
                lines.pop()
            yield number, offset, lines
            number += len(lines)
            offset += len(block)


def _index_block(first: int, offset: int, lines: list[bytes], contract: pa.DataFrameSchema) -> pl.DataFrame:
    lengths = pl.Series("length", [len(line) for line in lines], dtype=pl.UInt64)
    index = pl.DataFrame(
        {
            "line": pl.int_range(first, first + len(lines), dtype=pl.UInt64, eager=True),
            "offset": (lengths + 1).cum_sum().shift(1, fill_value=0) + offset,
            "length": lengths,
        }
    )
    filled = pl.Series([bool(line.strip()) for line in lines], dtype=pl.Boolean)
    index = index.filter(filled)
    records, reasons = _parse([line for line in lines if line.strip()])
    good = pl.Series([reason is None for reason in reasons], dtype=pl.Boolean)
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    for position, reason in violations(records.filter(good), contract).items():
        reasons[rows[position]] = reason
    index = index.with_columns(pl.Series("reason", reasons, dtype=pl.String))
    return pl.concat([index, records.select("id", "category", "language"), _keys(records, reasons)], how="horizontal")


def _keys(records: pl.DataFrame, reasons: Sequence[str | None]) -> pl.DataFrame:
    last = pl.col("messages").list.last().struct.field("content")
    message = pl.element().struct.field("role") + "\0" + pl.element().struct.field("content")
    before = pl.col("messages").list.head(pl.col("messages").list.len() - 1).list.eval(message).list.join("\0\0")
    good = pl.Series([reason is None for reason in reasons], dtype=pl.Boolean)
    texts = records.select(pl.when(good).then(last).alias("answer"), pl.when(good).then(before).alias("prompt"))
    answers = [None if answer is None else text_key(answer) for answer in texts["answer"]]
    prompts = zip(answers, texts["prompt"], strict=True)
    pairs = [None if answer is None else text_key(prompt or "", after=answer) for answer, prompt in prompts]
    return pl.DataFrame({"answer": answers, "pair": pairs}, schema={"answer": pl.Binary, "pair": pl.Binary})


def _parse(lines: list[bytes]) -> tuple[pl.DataFrame, list[str | None]]:
    """Records aligned with the lines, and why a line holds none."""
    records = _parse_clean(lines)
    if records is not None:
        return records, [None] * len(lines)
    if len(lines) > PIECE_LINES:
        parts = [_parse(lines[start : start + PIECE_LINES]) for start in range(0, len(lines), PIECE_LINES)]
        return pl.concat([part for part, _ in parts]), [reason for _, reasons in parts for reason in reasons]
    read = [_parse_line(line) for line in lines]
    return pl.DataFrame([record for record, _ in read], schema=SCHEMA, orient="row"), [reason for _, reason in read]


def _parse_clean(lines: list[bytes]) -> pl.DataFrame | None:
    """The records, if there is nothing about them that polars would read differently from JSON."""
    if any(line.count(b"[") + line.count(b"{") > _MANY_BRACKETS for line in lines):
        return None
    block = b"\n".join(lines)
    try:
        text = pl.Series([block.decode("utf-8")])
        if text.str.contains(_ODD).item():
            return None
        records = pl.read_ndjson(io.BytesIO(block), schema=SCHEMA)
    except (UnicodeDecodeError, pl.exceptions.PolarsError):
        return None
    keys = 4 * records.height + 2 * int(records["messages"].list.len().sum() or 0)
    same = records.height == len(lines) and int(text.str.count_matches(_KEY).item()) == keys  # none missing or twice
    return records if same else None


def _parse_line(line: bytes) -> tuple[dict[str, Any], str | None]:
    """One record with the keys of the schema, or the reason why the line holds none."""
    nothing: dict[str, Any] = dict.fromkeys(SCHEMA)
    if line.startswith(BYTE_ORDER_MARK):
        return nothing, "byte_order_mark"
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_number)
    except UnicodeDecodeError:
        return nothing, "not_utf8"
    except _Refused as refused:
        return nothing, refused.reason
    except (ValueError, RecursionError):
        return nothing, "not_json"
    if not isinstance(value, dict):
        return nothing, "not_an_object"
    record = {key: value.get(key) for key in SCHEMA}
    texts: list[Any] = [record[key] for key in ("id", "category", "language") if record[key] is not None]
    messages = record["messages"] if record["messages"] is not None else []
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return nothing, "wrong_type"
    texts += [message.get(key) for message in messages for key in ("role", "content")]
    if not all(isinstance(text, str) for text in texts):
        return nothing, "wrong_type"
    if re.search("[\ud800-\udfff]", "".join(texts)):
        return nothing, "not_unicode"
    record["messages"] = messages and [{key: message[key] for key in ("role", "content")} for message in messages]
    return record, None


class _Refused(Exception):  # noqa: N818 (a signal between the two functions below and _parse_line)
    def __init__(self, reason: str) -> None:
        self.reason = reason


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse two values for a key of the contract's; readers differ in which of them they take."""
    known = [key for key, _ in pairs if key in _KEYS]
    if len(set(known)) < len(known):
        raise _Refused("duplicate_key")
    return dict(pairs)


def _no_number(_: str) -> NoReturn:
    raise _Refused("not_a_number")

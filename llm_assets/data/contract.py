"""The contract of a chat record: its polars schema and the pandera checks on its values.

How a record gets out of a file, and what happens to one that breaks the contract, is in `reading.py`.
"""

from collections.abc import Sequence
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from resources.errors import DataError

SCHEMA: dict[str, Any] = {
    "id": pl.String,
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    "category": pl.String,
    "language": pl.String,
}
ROLES = ("system", "user", "assistant")
TURNS = r"^(system )?(user assistant )+$"
"""A system message or none, then user and assistant in turn; the last message is the answer that is learned."""


def chat_contract(maximum_characters: int, languages: Sequence[str]) -> pa.DataFrameSchema:
    """What every chat record must satisfy; a check's name is the reason that a row breaking it gets.

    Args:
        maximum_characters: of one message.
        languages: allowed ones; empty allows any.
    """
    contents = pl.element().struct.field("content").fill_null("").str
    role = pl.element().struct.field("role").fill_null("")
    known = pl.col("messages").list.eval(role.is_in(ROLES)).list.all()
    in_turn = pl.col("messages").list.eval(role + " ").list.join("").str.contains(TURNS)
    language = pl.col("language").is_in(list(languages)) if languages else _filled("language")
    return pa.DataFrameSchema(
        {
            "id": pa.Column(pl.String, _check("missing_id", _filled("id"))),
            "messages": pa.Column(
                SCHEMA["messages"],
                [
                    _check("wrong_roles", known & in_turn),
                    _check("empty_message", pl.col("messages").list.eval(contents.contains(r"\S")).list.all()),
                    _check(
                        "too_long", pl.col("messages").list.eval(contents.len_chars() <= maximum_characters).list.all()
                    ),
                ],
            ),
            "category": pa.Column(pl.String, _check("missing_category", _filled("category"))),
            "language": pa.Column(pl.String, _check("wrong_language", language)),
        }
    )


def violations(records: pl.DataFrame, contract: pa.DataFrameSchema) -> dict[int, str]:
    """Row number -> the first reason for which the contract refuses it.

    Raises:
        DataError: the table as a whole, not single rows, breaks the contract.
    """
    try:
        # an environment variable of pandera's could switch validation off
        with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            contract.validate(records, lazy=True)
    except SchemaErrors as error:
        broken: dict[int, str] = {}
        for column, check, index in error.failure_cases.select("column", "check", "index").iter_rows():
            if index is None:
                raise DataError(f"chat records break the contract as a whole: {column} {check}.") from error
            broken.setdefault(index, f"missing_{column}" if check == "not_nullable" else check)
        return broken
    return {}


def _filled(column: str) -> pl.Expr:
    return pl.col(column).str.contains(r"\S")


def _check(name: str, holds: pl.Expr) -> pa.Check:
    def judge(data: Any) -> pl.LazyFrame:
        frame: pl.LazyFrame = data.lazyframe
        return frame.select(holds.fill_null(False))

    return pa.Check(judge, name=name)

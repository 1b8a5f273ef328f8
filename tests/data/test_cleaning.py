"""Every line of every file ends in exactly one place, and where it ends depends on little."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from llm_assets.data import reading
from llm_assets.data.cleaning import Rows, read_rows, write_dataset, write_quarantine
from llm_assets.data.contract import SCHEMA
from llm_assets.data.text import normal_form, text_key
from tests.data.small_registry import chat, training_rows, write_rows


def read(folder: Path, shards: dict[str, Iterable[Any]], exam: Iterable[str] = (), fraction: float = 0.2) -> Rows:
    for name, rows in shards.items():
        write_rows(folder / name, rows)
    return read_files(folder, list(shards), exam, fraction)


def read_files(folder: Path, names: list[str], exam: Iterable[str] = (), fraction: float = 0.2) -> Rows:
    return read_rows(
        {name: folder / name for name in names},
        maximum_characters=100,
        languages=["english", "chinese"],
        validation_fraction=fraction,
        exam_answers=frozenset(map(text_key, exam)),
    )


def outcomes(rows: Rows) -> dict[str, str]:
    return dict(rows.rows.filter(rows.rows["id"].is_not_null()).select("id", "outcome").iter_rows())


def places(rows: Rows) -> list[tuple[int, str]]:
    return list(rows.rows.select("line", "outcome").iter_rows())


def broken(change: dict[str, Any]) -> str:
    return json.dumps({**chat("bad", "Fine."), **change})


MESSAGE = {"role": "user", "content": "Hi"}
HOSTILE = [
    ("not_json", b'{"id": "cut", "messages": [{"ro'),
    ("not_json", json.dumps(chat("twice", "A.")).encode() * 2),
    ("not_json", b"{'id': 'single quotes'}"),
    ("not_json", b"[" * 100_000),
    ("not_an_object", b"5"),
    ("not_an_object", b"[{}]"),
    ("not_a_number", broken({"score": float("nan")}).encode()),
    ("not_a_number", broken({"score": float("-inf")}).encode()),
    ("not_utf8", json.dumps(chat("utf", "ANSWER")).encode().replace(b"ANSWER", b"\xff\xfe")),
    ("not_unicode", json.dumps(chat("surrogate", "\ud800")).encode()),
    ("byte_order_mark", b"\xef\xbb\xbf" + json.dumps(chat("bom", "A.")).encode()),
    ("duplicate_key", json.dumps(chat("key", "A.")).replace('"id"', '"id": "other", "id"').encode()),
    ("duplicate_key", broken({"more": 1}).replace('"more": 1', '"messages": []').encode()),
    ("duplicate_key", broken({"more": 1}).replace('"more": 1', '"langu\\u0061ge": "klingon"').encode()),
    ("not_json", broken({"more": 1}).replace("1}", "[" * 3000 + "]" * 3000 + "}").encode()),
    ("wrong_type", broken({"id": 5}).encode()),
    ("wrong_type", broken({"category": True}).encode()),
    ("wrong_type", broken({"language": ["english"]}).encode()),
    ("wrong_type", broken({"messages": "Hi"}).encode()),
    ("wrong_type", broken({"messages": [None]}).encode()),
    ("wrong_type", broken({"messages": [{"role": "user", "content": 5}]}).encode()),
    ("wrong_type", broken({"messages": [{"role": "user"}]}).encode()),
    ("missing_id", broken({"id": " "}).encode()),
    ("missing_category", broken({"category": None}).encode()),
    ("missing_messages", broken({"messages": None}).encode()),
    ("wrong_roles", broken({"messages": []}).encode()),
    ("wrong_roles", broken({"messages": [MESSAGE]}).encode()),
    ("wrong_roles", broken({"messages": [MESSAGE, MESSAGE, {"role": "assistant", "content": "A."}]}).encode()),
    ("wrong_roles", broken({"messages": [{"role": "user assistant", "content": "Hi"}]}).encode()),
    ("wrong_roles", broken({"messages": [MESSAGE, {"role": "tool", "content": "A."}]}).encode()),
    ("empty_message", broken({"messages": [MESSAGE, {"role": "assistant", "content": " \n"}]}).encode()),
    ("too_long", broken({"messages": [MESSAGE, {"role": "assistant", "content": "A" * 101}]}).encode()),
    ("wrong_language", broken({"language": "klingon"}).encode()),
]


@pytest.mark.parametrize(("reason", "line"), HOSTILE)
def test_a_broken_line_gets_its_reason_and_harms_no_other_line(reason: str, line: bytes, tmp_path: Path) -> None:
    good = [json.dumps(row).encode() for row in training_rows(4)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([good[0], good[1], line, good[2], good[3]]) + b"\n")
    rows = read_files(tmp_path, ["a.jsonl"], fraction=1e-9)
    assert places(rows) == [(1, "train"), (2, "train"), (3, reason), (4, "train"), (5, "train")]


def test_a_hostile_file_reconciles_and_the_quarantine_holds_every_raw_line(tmp_path: Path) -> None:
    good = [json.dumps(row).encode() for row in training_rows(50)]
    lines = good + [line for _, line in HOSTILE] + good[:3] + [b"", b"   "]
    random.Random(0).shuffle(lines)
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines) + b'\r\n{"id": "trunca')
    rows = read_files(tmp_path, ["a.jsonl"])
    counts = rows.counts()
    assert sum(counts.values()) == rows.rows.height == 50 + len(HOSTILE) + 3 + 1
    assert counts["train"] + counts["validation"] == 50
    assert counts["duplicate"] == 3
    write_quarantine(rows, tmp_path / "quarantine.jsonl")
    written = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    original = (tmp_path / "a.jsonl").read_bytes().split(b"\n")
    assert len(written) == len(HOSTILE) + 3 + 1
    for row in written:
        assert row["raw"] == original[row["line"] - 1].decode("utf-8", "backslashreplace")


def test_clean_stretches_and_line_by_line_reading_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = {"a.jsonl": [*training_rows(40), chat("u", "好的 \u2028 ok"), {**chat("x", "Extra."), "more": {"id": 1}}]}
    fast = read(tmp_path, shards).rows
    monkeypatch.setattr(reading, "_parse_clean", lambda lines: None)
    assert read(tmp_path, shards).rows.equals(fast)


@pytest.mark.parametrize(("reason", "line"), HOSTILE)
def test_no_broken_line_slips_through_as_part_of_a_clean_stretch(reason: str, line: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    assert places(read_files(tmp_path, ["a.jsonl"])) == [(1, reason)]


def test_a_key_outside_the_contract_may_occur_twice_whatever_stands_beside_it(tmp_path: Path) -> None:
    row = broken({"more": 1}).replace('"more": 1', '"more": 1, "more": 2')
    assert read(tmp_path, {"a.jsonl": [row]}).counts().keys() <= {"train", "validation"}
    assert dict(places(read(tmp_path, {"b.jsonl": [row, "broken"]})))[1] in ("train", "validation")


def test_lines_that_cross_the_borders_of_blocks_and_pieces_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.dumps(row) for row in training_rows(300)]
    rows[7] = rows[123] = "broken"
    whole = read(tmp_path, {"a.jsonl": rows}).rows
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(reading, "PIECE_LINES", 3)
    parts = read(tmp_path, {"a.jsonl": rows})
    assert parts.rows.equals(whole)
    assert [line for line, outcome in places(parts) if outcome == "not_json"] == [8, 124]


def test_growing_data_never_moves_a_row_between_training_and_validation(tmp_path: Path) -> None:
    rows = training_rows(200)
    before = outcomes(read(tmp_path, {"b.jsonl": rows}))
    more = [chat(f"a{n}", f"Another {n}.") for n in range(200)] + [chat("zz", "answer   NUMBER 7.", prompt="Else?")]
    after = outcomes(read(tmp_path, {"a.jsonl": more, "b.jsonl": rows}))
    assert {name: after[name] for name in before} == before
    assert set(before.values()) == {"train", "validation"}
    assert after["zz"] == after["r007"]  # the same answer to another question is on the same side


def test_resharding_changes_no_byte_of_the_dataset(tmp_path: Path) -> None:
    rows = [*training_rows(60), chat("dup", "ANSWER  number 5.", prompt="what about R005?")]
    for name, shards in {"one": {"a.jsonl": rows}, "two": {"x.jsonl": rows[::-2], "y.jsonl": rows[-2::-2]}}.items():
        write_dataset(read(tmp_path / name, shards), tmp_path / f"{name}.out")
    for split in ("train.jsonl", "validation.jsonl"):
        assert (tmp_path / "one.out" / split).read_bytes() == (tmp_path / "two.out" / split).read_bytes()
    written = [json.loads(line) for line in (tmp_path / "one.out" / "train.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == sorted(row["id"] for row in written)
    assert set(written[0]) == set(SCHEMA)


def test_equal_prompt_and_answer_are_duplicates_whatever_their_spelling(tmp_path: Path) -> None:
    pairs = [("r1", "ﬁne", "Straße"), ("r0", " Fine ", "STRASSE"), ("r2", "fine", "Strasse?")]
    found = outcomes(read(tmp_path, {"a.jsonl": [chat(i, answer, prompt) for i, answer, prompt in pairs]}))
    assert found["r1"] == "duplicate"  # of equal rows the lowest id stays
    assert "duplicate" not in (found["r0"], found["r2"])


def test_the_second_row_with_an_id_is_rejected_unless_it_says_the_same(tmp_path: Path) -> None:
    rows = read(tmp_path, {"a.jsonl": [chat("a", "One."), chat("a", "Two."), chat("a", "One.")]}, fraction=1e-9)
    assert places(rows) == [(1, "train"), (2, "duplicate_id"), (3, "duplicate")]


def test_rows_with_an_answer_of_an_evaluation_set_are_contamination(tmp_path: Path) -> None:
    rows = read(
        tmp_path, {"a.jsonl": [*training_rows(20), chat("leak", "  the HELD-OUT answer")]}, ["The held-out answer"]
    )
    assert outcomes(rows)["leak"] == "contamination"
    assert rows.contaminated == rows.counts()["contamination"] == 1


def test_normal_form_ignores_case_width_and_white_space_only() -> None:
    assert normal_form(" Ｈello\u3000 WORLD\n") == "hello world"
    assert normal_form("hello, world") != normal_form("hello world")

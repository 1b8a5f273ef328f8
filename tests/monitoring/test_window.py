"""What users send can be anything; a window holds what has the shape of a request, and counts the rest."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llm_assets.monitoring.window import build_window, parse_request, prompt_of, prompts_of, read_hour
from llm_assets.records.monitoring import RequestWindow
from resources.errors import DataError
from resources.store import ArtifactStore

HOUR = datetime(2026, 1, 31, 14, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


def request(text: Any = "Hello?", **changes: Any) -> bytes:
    value = {
        "time": "2026-01-31T14:00:01.000+00:00",
        "id": "a",
        "release": "f" * 64,
        "name": "assistant-v1",
        "status": 200,
        "seconds": 0.1,
        "messages": [{"role": "user", "content": text}],
        "answer": "Hi.",
    }
    return json.dumps({**value, **changes}).encode() + b"\n"


def window(store: ArtifactStore, *lines: bytes) -> RequestWindow:
    return build_window(b"".join(lines), HOUR, store)


def test_an_hour_in_which_nobody_asked_is_an_empty_window(store: ArtifactStore, tmp_path: Path) -> None:
    made = build_window(read_hour(tmp_path / "missing.jsonl"), HOUR, store)
    assert (made.n, made.failed, made.malformed, made.releases) == (0, 0, 0, {})
    assert prompts_of(made, store) == []


def test_requests_failures_and_releases_are_counted(store: ArtifactStore) -> None:
    refused = request(status=503, release="")
    made = window(store, request(), request(), request(release="e" * 64), refused)
    assert (made.n, made.failed) == (4, 1)
    assert made.releases == {"f" * 64: 2, "e" * 64: 1}
    assert made.hour == "2026-01-31T14:00:00+00:00"


def test_a_last_line_that_was_cut_off_is_counted_and_left_out(store: ArtifactStore) -> None:
    made = window(store, request(), request()[:40])
    assert (made.n, made.malformed) == (1, 1)


def test_questions_of_the_platform_itself_are_nobodys(store: ArtifactStore) -> None:
    made = window(store, request(), request(probe=True), request(probe=False))
    assert (made.n, made.malformed) == (2, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"null\n",
        b"[]\n",
        b"\xff\xfe\x00\n",
        b"[" * 100_000 + b"\n",
        b'{"id": ' + b"9" * 5000 + b"}\n",
        request(status="200"),
        request(status=True),
        request(messages="hello"),
        request(release=None),
        request(release="\ud800"),
        request(id=7),
    ],
)
def test_what_is_no_request_is_counted_as_malformed(store: ArtifactStore, line: bytes) -> None:
    made = window(store, request(), line, request())
    assert (made.n, made.malformed) == (2, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("  plain ", "plain"),
        ([{"type": "text", "text": "in"}, {"type": "image_url"}, {"type": "text", "text": "parts"}], "in parts"),
        ("half \ud83d of a character", "half ? of a character"),
        ("x" * 10_000, "x" * 4000),
        (None, ""),
        (3, ""),
        ([3, {"type": "text", "text": 4}], ""),
    ],
)
def test_a_prompt_is_the_text_of_the_last_user_message(content: Any, expected: str) -> None:
    messages = [{"role": "user", "content": "earlier"}, {"role": "assistant", "content": "yes"}]
    assert prompt_of([*messages, {"role": "user", "content": content}, {"role": "assistant"}, 5]) == expected


def test_messages_without_a_user_give_no_prompt(store: ArtifactStore) -> None:
    made = window(store, request(messages=[]), request(messages=["x", None, {"role": "system", "content": "s"}]))
    assert made.n == 2
    assert prompts_of(made, store) == []


def test_rows_are_kept_as_they_were_written(store: ArtifactStore) -> None:
    line = request("half \ud83d of a character")
    made = window(store, line)
    assert (store.path(made.rows) / "requests.jsonl").read_bytes() == line
    assert parse_request(line) is not None


def test_records_that_cannot_be_read_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "14.jsonl").mkdir()
    with pytest.raises(DataError, match=r"14\.jsonl can't be read"):
        read_hour(tmp_path / "14.jsonl")

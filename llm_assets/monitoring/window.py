"""An hour of request records, as the gateway wrote them (`llm_assets/serving/request_records.py`).

What users sent is hostile: a line counts as a request only if it has the shape of one; everything else is counted as
malformed, the half line of a process that was killed while it wrote included. Questions that the platform asked
itself (`probe`) are nobody's and left out.
"""

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from llm_assets.records.monitoring import RequestWindow
from resources.errors import DataError
from resources.store import ArtifactStore

ROWS = "requests.jsonl"
MAXIMUM_CHARACTERS = 4000
"""Of a prompt; what comes after is not looked at. The embedder reads the first 256 tokens only."""

Json = dict[str, Any]


def hour_file(serving_dir: Path, line: str, hour: datetime) -> Path:
    """Where the gateway of a line writes what it answered in an hour (UTC)."""
    return records_folder(serving_dir, line) / f"{hour:%Y-%m-%dT%H}.jsonl"


def records_folder(serving_dir: Path, line: str) -> Path:
    """The folder of a line's request records."""
    return serving_dir / line / "records"


def read_hour(path: Path) -> bytes:
    """The hour's file; empty if nobody asked anything.

    Raises:
        DataError: it is there and can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DataError(f"request records {path} can't be read ({error.strerror}); check its permissions.") from error


def build_window(content: bytes, hour: datetime, store: ArtifactStore) -> RequestWindow:
    """Sort one hour's lines into requests and malformed ones, and publish the requests as they were written."""
    rows: list[bytes] = []
    malformed = failed = 0
    releases: Counter[str] = Counter()
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        request = parse_request(line)
        if request is None:
            malformed += 1
        elif request.get("probe") is not True:
            rows.append(line + b"\n")
            answered = 200 <= request["status"] < 300
            failed += not answered
            if answered and request["release"]:
                releases[request["release"]] += 1
    return RequestWindow(
        hour=hour.isoformat(),
        rows=store.put_files({ROWS: b"".join(rows)}),
        n=len(rows),
        failed=failed,
        malformed=malformed,
        releases=dict(releases),
    )


def parse_request(line: bytes) -> Json | None:
    """One request record; None if the line is not one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    texts = all(isinstance(value.get(name), str) for name in ("id", "time", "release"))
    status = value.get("status")
    messages = value.get("messages")
    numbered = isinstance(status, int) and not isinstance(status, bool)
    return value if texts and numbered and isinstance(messages, list) and _encodes(value["release"]) else None


def prompt_of(messages: Any) -> str:
    """What the user asked: the text of the last user message, cut to MAXIMUM_CHARACTERS; empty if there is none."""
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            text = _text(message.get("content")).strip()[:MAXIMUM_CHARACTERS]
            return text.encode("utf-8", "replace").decode()
    return ""


def prompts_of(window: RequestWindow, store: ArtifactStore) -> list[str]:
    """Every prompt of a window that has text, in the order of the requests."""
    lines = (store.path(window.rows) / ROWS).read_bytes().split(b"\n")
    requests = (parse_request(line) for line in lines if line)
    return [prompt for request in requests if request and (prompt := prompt_of(request["messages"]))]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return " ".join(text for text in texts if isinstance(text, str))


def _encodes(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON can carry halves of characters that can't."""
    return not any("\ud800" <= character <= "\udfff" for character in text)

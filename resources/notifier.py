"""Alerts: written down once, then delivered to every address until it took them.

Beside the alert file lies `<name>.delivered.jsonl`, which says what reached which address. Addresses may hold
passwords, so files and messages name them by their scheme and a hash.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from resources.errors import NotificationError

ATTEMPTS = 10
"""Per address and call, so that a long list of alerts can't hold up a sensor's tick."""

Send = Callable[[str, str, str], bool]
"""Address, title and text to whether it was taken."""


class Alert(BaseModel):
    """One thing that somebody should know."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    """Names the event, so that telling it twice is noticed."""
    line: str
    title: str
    text: str


class _Written(Alert):
    time: str
    to: list[str] = []
    """Names of the addresses that were configured when it was written."""


class Notifier:
    """Writes alerts to a file and delivers them through apprise; safe for concurrent use by several processes."""

    def __init__(self, path: Path, urls: Sequence[str] = (), send: Send | None = None) -> None:
        self.path = path
        self.delivered_path = path.with_suffix(".delivered.jsonl")
        self._urls = {_name_of(url): url for url in urls}
        self._send = send or _send_by_apprise

    def write(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Append the alerts that the file does not hold yet; returns those.

        Raises:
            NotificationError: the file can't be written.
        """
        if not alerts:
            return []
        with self._locked():
            known = {alert.id for alert in self._alerts()}
            new = {alert.id: alert for alert in alerts if alert.id not in known}
            now = datetime.now(UTC).isoformat(timespec="seconds")
            written = [_Written(**alert.model_dump(), time=now, to=list(self._urls)) for alert in new.values()]
            _append(self.path, [alert.model_dump() for alert in written])
        return list(new.values())

    def deliver(self, line: str) -> list[str]:
        """Try what is not delivered yet, of one line; returns one sentence per address that did not take an alert.

        An address that refuses is left alone until the next call; the others do not wait for it, and never get an
        alert twice. If this process dies between delivery and its note, one alert is repeated.

        Raises:
            NotificationError: the files can't be read or written.
        """
        if not self._urls:
            return []
        with self._locked():
            done = {(entry.get("id"), entry.get("to")) for entry in _lines(self.delivered_path)}
            waiting = [alert for alert in self._alerts() if alert.line == line]
        problems = []
        for name, url in self._urls.items():
            due = [alert for alert in waiting if name in alert.to and (alert.id, name) not in done]
            for alert in due[:ATTEMPTS]:
                if not self._send(url, alert.title, alert.text):
                    problems.append(f"{name} did not take an alert, {len(due)} wait for it; the next tick tries again.")
                    break
                with self._locked():
                    _append(self.delivered_path, [{"id": alert.id, "to": name}])
        return problems

    def _alerts(self) -> Iterator[_Written]:
        for entry in _lines(self.path):
            try:
                yield _Written.model_validate(entry)
            except ValidationError:  # a line that somebody edited says nothing about the others
                continue

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise NotificationError(
                f"alerts can't be written to {self.path} ({error.strerror or error}); check its permissions and space."
            ) from error


def _name_of(url: str) -> str:
    return f"{url.partition('://')[0]}:{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every JSON object of a file, half lines of a killed writer left out."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _append(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    content = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    with path.open("a+b") as file:
        end = file.seek(0, 2)
        if end:
            file.seek(end - 1)
            content = content if file.read(1) == b"\n" else b"\n" + content
        file.write(content)


def _send_by_apprise(url: str, title: str, text: str) -> bool:
    import apprise

    sender = apprise.Apprise()
    return bool(sender.add(url)) and bool(sender.notify(body=text, title=title))

"""The release log of a line: what was released, staged, promoted and rolled back, in order, for ever.

An append-only, hash-chained log in the artifact store. The champion is what the last promotion or rollback named.
"""

from typing import Any, Literal

from llm_assets.records.release import Release
from resources.errors import StoreError
from resources.store import ArtifactStore

Event = Literal["released", "staged", "promoted", "rolled_back"]
SERVING: tuple[Event, ...] = ("promoted", "rolled_back")


def history(store: ArtifactStore, line: str) -> list[dict[str, Any]]:
    """All entries, oldest first: seq, previous, event, release (digest), name.

    Raises:
        StoreError: the chain is broken.
    """
    return store.read_log(line)


def record_event(store: ArtifactStore, line: str, event: Event, release: Release) -> dict[str, Any]:
    """Append one event; the entry that says the same is returned if it is already the last of its kind.

    Raises:
        StoreError: somebody else appended at the same moment; read again and decide anew.
    """
    entries = history(store, line)
    kinds = SERVING if event in SERVING else (event,)
    last = next((entry for entry in reversed(entries) if entry["event"] in kinds), None)
    if last and last["release"] == release.digest:
        return last
    return store.append_log(line, {"event": event, "release": release.digest, "name": release.name}, len(entries))


def champion(store: ArtifactStore, line: str) -> Release | None:
    """The release that serves in production; None before the first promotion."""
    serving = _serving(store, line)
    return Release.load(store, serving[-1]) if serving else None


def opponent(store: ArtifactStore, line: str, checkpoint: str) -> Release | None:
    """The champion that a candidate is compared with: the last release that served with another checkpoint.

    A candidate that already serves keeps the opponent it had, so evaluating it again is the same computation.
    """
    for digest in reversed(_serving(store, line)):
        release = Release.load(store, digest)
        if release.checkpoint != checkpoint:
            return release
    return None


def previous(store: ArtifactStore, line: str) -> Release | None:
    """The release to roll back to: the one promoted before the champion, on the way back that is not yet undone.

    Two rollbacks in a row go back two releases; a promotion after a rollback starts from where that led.
    """
    stack = _serving(store, line)
    return Release.load(store, stack[-2]) if len(stack) > 1 else None


def _serving(store: ArtifactStore, line: str) -> list[str]:
    """Digests of the promotions that are not undone, oldest first; the last one serves."""
    stack: list[str] = []
    for entry in history(store, line):
        if entry["event"] == "promoted":
            stack.append(entry["release"])
        elif entry["event"] == "rolled_back":
            if entry["release"] not in stack:
                raise StoreError(f"log {line}: entry {entry['seq']} rolls back to {entry['name']}, which never served.")
            while stack[-1] != entry["release"]:
                stack.pop()
    return stack

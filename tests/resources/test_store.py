"""The artifact store: what is published is whole, named by content, and never changes."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.errors import StoreError
from resources.store import MANIFEST, ArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


def test_equal_content_has_one_digest_wherever_it_came_from(store: ArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("hello")
    assert store.put_tree(folder) == store.put_files({"deep/a.txt": b"hello"})
    assert store.put_files({"deep/a.txt": b"other"}) != store.put_files({"deep/a.txt": b"hello"})


def test_an_artifact_without_files_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="produced nothing"):
        store.put_tree(tmp_path / "empty")


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "add", "manifest"])
def test_damaged_bytes_are_refused(store: ArtifactStore, damage: str) -> None:
    artifact = store.put_files({"a.bin": b"0123456789", "b.bin": b"x"})
    folder = store.path(artifact)
    file = folder / "a.bin"
    if damage == "flip":
        file.write_bytes(b"0123456780")
    elif damage == "truncate":
        file.write_bytes(b"01234")
    elif damage == "remove":
        file.unlink()
    elif damage == "add":
        (folder / "c.bin").write_bytes(b"more")
    else:
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=artifact.digest[:8]):
        store.verify(artifact)


def test_a_record_with_nan_is_never_published(store: ArtifactStore) -> None:
    with pytest.raises(StoreError, match="NaN"):
        store.put_record({"loss": float("nan")})


def test_a_changed_record_is_refused(store: ArtifactStore) -> None:
    digest = store.put_record({"a": 1})
    path = Path(store.root) / "records" / f"{digest}.json"
    path.write_text('{"a":2}')
    with pytest.raises(StoreError, match="was changed on disk"):
        store.get_record(digest)


def test_a_full_disk_is_named_and_leaves_nothing_behind(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.put_files({"kept": b"1"})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.fs, "pipe_file", full)
        with pytest.raises(StoreError, match="free some space"):
            store.put_files({"new": b"2"})
    assert store.verify(kept)
    assert list((Path(store.root) / "tmp").iterdir()) == []
    assert store.verify(store.put_files({"new": b"2"}))


def test_only_one_of_many_writers_gets_a_log_entry(store: ArtifactStore) -> None:
    store.append_log("line", {"event": "first"}, 0)

    def write(number: int) -> bool:
        try:
            store.append_log("line", {"event": f"writer {number}"}, 1)
        except StoreError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = sum(pool.map(write, range(8)))
    assert wins == 1
    assert [entry["seq"] for entry in store.read_log("line")] == [0, 1]


def test_a_removed_or_changed_log_entry_is_noticed(store: ArtifactStore) -> None:
    for number in range(3):
        store.append_log("line", {"event": f"e{number}"}, number)
    folder = Path(store.root) / "logs" / "line"
    content = (folder / "00000001.json").read_text()
    (folder / "00000001.json").write_text(content.replace("e1", "e9"))
    with pytest.raises(StoreError, match="breaks the chain"):
        store.read_log("line")
    (folder / "00000001.json").write_text(content)
    assert len(store.read_log("line")) == 3
    os.remove(folder / "00000001.json")
    with pytest.raises(StoreError, match="breaks the chain"):
        store.read_log("line")


def test_a_store_on_another_filesystem_serves_the_same_artifacts(tmp_path: Path) -> None:
    store = ArtifactStore("memory://bucket/store", tmp_path / "cache")
    artifact = store.put_files({"x/a": b"1", "b": b"2"})
    assert store.has(artifact)
    folder = store.verify(artifact)
    assert (folder / "x" / "a").read_bytes() == b"1"
    assert store.get_record(store.put_record({"a": 1})) == {"a": 1}
    store.append_log("line", {"event": "one"}, 0)
    with pytest.raises(StoreError, match="someone else"):
        store.append_log("line", {"event": "two"}, 0)

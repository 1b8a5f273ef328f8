"""The artifact store: immutable, content-addressed, on any fsspec URL.

Layout below the URL:
    trees/<digest>/...       files of one artifact beside their MANIFEST.json; digest = sha256 of the manifest
    records/<digest>.json    canonical JSON of one record; digest = sha256 of those bytes
    results/<key>            digest of the record that a computation with this key produced
    logs/<name>/<seq>.json   append-only, hash-chained entries; creating a number that exists fails

What is visible is whole: on a local disk everything is written under `tmp/` and renamed; elsewhere the manifest
is written last and a tree without one does not exist.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict

from resources.errors import StoreError

MANIFEST = "MANIFEST.json"
Json = dict[str, Any]


def canonical(value: Any) -> bytes:
    """The one JSON spelling that is hashed: sorted keys, no spaces, UTF-8. NaN and infinity are refused.

    Raises:
        StoreError: the value holds a number that JSON can't carry.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise StoreError(f"a record holds a value that can't be stored ({error}); NaN is never published.") from error


def digest_of(value: Any) -> str:
    """sha256, in hex, of a JSON value's canonical spelling."""
    return hashlib.sha256(canonical(value)).hexdigest()


def file_digest(path: Path) -> str:
    """sha256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Artifact(BaseModel):
    """A tree of files in the store, named by its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    files: int
    size: int
    """Bytes of all files together."""

    @property
    def short(self) -> str:
        """The first twelve hex digits, for people."""
        return self.digest[:12]


class ArtifactStore:
    """Reads and writes the layout above. Safe for concurrent writers: names are digests."""

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        self.fs, self.root = fsspec.core.url_to_fs(url)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.cache = cache

    def put_tree(self, folder: Path) -> Artifact:
        """Store every file below `folder`.

        Raises:
            StoreError: the folder has no file, or the store can't be written.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return self.put_files({path.relative_to(folder).as_posix(): path for path in paths})

    def put_files(self, files: Mapping[str, Path | bytes]) -> Artifact:
        """Store files under the given relative names; equal content gives an equal digest and is stored once."""
        if not files:
            raise StoreError("an artifact without files is never stored; what made it produced nothing.")
        entries: dict[str, Json] = {}
        for name, content in sorted(files.items()):
            if isinstance(content, bytes):
                entries[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            else:
                entries[name] = {"sha256": file_digest(content), "size": content.stat().st_size}
        manifest = canonical(entries)
        artifact = Artifact(
            digest=hashlib.sha256(manifest).hexdigest(),
            files=len(entries),
            size=sum(entry["size"] for entry in entries.values()),
        )
        final = self._path("trees", artifact.digest)
        if not self.fs.exists(f"{final}/{MANIFEST}"):
            with self._writing(final) as target:
                for name, content in files.items():
                    self._write(f"{target}/{name}", content)
                self._write(f"{target}/{MANIFEST}", manifest)
        return artifact

    def has(self, artifact: Artifact) -> bool:
        """Whether the artifact is there, whole by name and size (contents are checked by `verify`)."""
        try:
            folder = self.path(artifact)
            entries = json.loads((folder / MANIFEST).read_text())
            return all((folder / name).stat().st_size == entry["size"] for name, entry in entries.items())
        except (StoreError, OSError, ValueError):
            return False

    def path(self, artifact: Artifact) -> Path:
        """A local folder with the artifact's files, read-only by convention; fetched once from a remote store.

        Raises:
            StoreError: no such artifact.
        """
        remote = self._path("trees", artifact.digest)
        if not self.fs.exists(f"{remote}/{MANIFEST}"):
            raise StoreError(f"artifact {artifact.digest} is not in the store {self.url}; run what makes it again.")
        if self.is_local:
            return Path(remote)
        local = self.cache / artifact.digest
        if not (local / MANIFEST).exists():
            partial = self.cache / f"{artifact.digest}.{uuid.uuid4().hex}"
            partial.mkdir(parents=True)
            self.fs.get(f"{remote}/", f"{partial}/", recursive=True)
            shutil.rmtree(local, ignore_errors=True)
            partial.replace(local)
        return local

    def verify(self, artifact: Artifact) -> Path:
        """Read every byte and compare with the digest.

        Raises:
            StoreError: a file is missing, more than the manifest lists, or not the bytes that were published.
        """
        folder = self.path(artifact)
        manifest = (folder / MANIFEST).read_bytes()
        if hashlib.sha256(manifest).hexdigest() != artifact.digest:
            raise StoreError(
                f"artifact {artifact.digest}: its manifest was changed; remove {folder} and publish again."
            )
        entries = json.loads(manifest)
        present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
        if present != set(entries):
            odd = sorted(present ^ set(entries))
            raise StoreError(f"artifact {artifact.digest}: files missing or added: {', '.join(odd)} in {folder}.")
        for name, entry in entries.items():
            if file_digest(folder / name) != entry["sha256"]:
                raise StoreError(
                    f"artifact {artifact.digest}: {name} holds other bytes than were published ({folder})."
                )
        return folder

    def put_record(self, value: Json) -> str:
        """Store one record's JSON; returns its digest."""
        content = canonical(value)
        digest = hashlib.sha256(content).hexdigest()
        final = self._path("records", f"{digest}.json")
        if not self.fs.exists(final):
            with self._writing(final) as target:
                self._write(target, content)
        return digest

    def get_record(self, digest: str) -> Json:
        """Read one record and check that it is the one its digest names."""
        path = self._path("records", f"{digest}.json")
        try:
            content = self.fs.cat_file(path)
        except FileNotFoundError as error:
            raise StoreError(f"record {digest} is not in the store {self.url}; run what makes it again.") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StoreError(f"record {digest} was changed on disk ({path}); remove it and run what makes it again.")
        value: Json = json.loads(content)
        return value

    def get_result(self, key: str) -> str | None:
        """The digest of the record that a computation with this key gave, if it ever ran."""
        path = self._path("results", key)
        return self.fs.cat_file(path).decode() if self.fs.exists(path) else None

    def put_result(self, key: str, record_digest: str) -> None:
        """Remember what a computation gave. The last writer wins: equal keys mean equal computations."""
        with self._writing(self._path("results", key)) as target:
            self._write(target, record_digest.encode())

    def read_log(self, name: str) -> list[Json]:
        """All entries of an append-only log, oldest first, with the hash chain checked.

        Raises:
            StoreError: an entry is missing, out of order or was changed.
        """
        folder = self._path("logs", name)
        if not self.fs.exists(folder):
            return []
        self.fs.invalidate_cache(folder)
        entries: list[Json] = []
        previous = ""
        for path in sorted(self.fs.ls(folder, detail=False)):
            content = self.fs.cat_file(path)
            entry = json.loads(content)
            if entry["seq"] != len(entries) or entry["previous"] != previous:
                raise StoreError(f"log {name}: entry {path} breaks the chain; an entry was removed or changed.")
            previous = hashlib.sha256(content).hexdigest()
            entries.append(entry)
        return entries

    def append_log(self, name: str, entry: Json, expected: int) -> Json:
        """Append as entry number `expected`; a compare-and-swap.

        Raises:
            StoreError: another writer appended that number first; read the log again and decide anew.
        """
        entries = self.read_log(name)
        previous = hashlib.sha256(canonical(entries[-1])).hexdigest() if entries else ""
        full = {**entry, "seq": expected, "previous": previous}
        final = self._path("logs", name, f"{expected:08d}.json")
        lost = StoreError(f"log {name}: entry {expected} was written by someone else meanwhile; run this again.")
        if len(entries) != expected:
            raise lost
        try:
            if self.is_local:
                with self._writing(final, exclusive=True) as target:
                    self._write(target, canonical(full))
            else:
                self.fs.pipe_file(final, canonical(full), mode="create")
        except FileExistsError as error:
            raise lost from error
        return full

    def _path(self, *parts: str) -> str:
        return "/".join((self.root.rstrip("/"), *parts))

    def _write(self, path: str, content: Path | bytes) -> None:
        if self.is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            self.fs.pipe_file(path, content)
        else:
            self.fs.put_file(str(content), path)

    @contextmanager
    def _writing(self, path: str, exclusive: bool = False) -> Iterator[str]:
        """Yield where to write; publish at `path` by rename, or, if exclusive, by a link that never overwrites."""
        temporary = self._path("tmp", uuid.uuid4().hex) if self.is_local else path
        try:
            yield temporary
            if self.is_local:
                target = Path(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                if exclusive:
                    os.link(temporary, target)
                elif not (target.is_dir() and (target / MANIFEST).exists()):
                    os.replace(temporary, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:  # the same tree was published by someone else in between
                return
            space = error.errno == errno.ENOSPC
            way_out = "free some space and run this again" if space else "check the path and its permissions"
            raise StoreError(
                f"the store {self.url} can't be written ({error.strerror or error}); {way_out}."
            ) from error
        finally:
            if self.is_local:
                leftover = Path(temporary)
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)

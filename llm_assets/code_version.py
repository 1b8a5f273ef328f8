"""Which version of its own code an asset's result came from.

The digest of a syntax tree is remembered beside Python's own cache of compiled modules, by the digest of the file's
bytes: parsing everything would take half of the time that a code location needs to load.
"""

import ast
import functools
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

from resources.settings import ROOT

MEMORY = Path(cache_from_source(__file__)).with_suffix(".json")
"""By file, relative to the repository: [digest of its bytes, digest of its syntax tree]. Python's version is in the
name, as trees depend on it."""


def code_version(*sources: str) -> str:
    """Digest of the syntax trees of source files or folders, named relative to the repository.

    Comments and layout do not count, so that a reworded comment does not retrain a model. Of what is not Python, such
    as a page's template, every byte does.
    """
    known = _remembered()
    before = dict(known)
    hasher = hashlib.sha256()
    for file in source_files(*sources):
        hasher.update(_digest(file, known))
    if known != before:
        _remember(known)
    return hasher.hexdigest()[:16]


def source_files(*sources: str) -> list[Path]:
    """The files that `code_version` reads: a folder's are all below it, but caches and hidden ones."""
    found: list[Path] = []
    for source in sources:
        path = ROOT / source
        found += sorted(_below(path)) if path.is_dir() else [path]
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(path, name) for name in names if not name.startswith("."))


def _digest(file: Path, known: dict[str, list[str]]) -> bytes:
    content = file.read_bytes()
    written = hashlib.sha256(content)
    if file.suffix != ".py":
        return written.digest()
    name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else None
    if name and known.get(name, [""])[0] == written.hexdigest():
        return bytes.fromhex(known[name][1])
    tree = hashlib.sha256(ast.dump(ast.parse(content)).encode())
    if name:
        known[name] = [written.hexdigest(), tree.hexdigest()]
    return tree.digest()


@functools.cache
def _remembered() -> dict[str, list[str]]:
    try:
        found: dict[str, list[str]] = json.loads(MEMORY.read_text())
        whole = all(len(bytes.fromhex(digest)) == 32 for pair in found.values() for digest in (pair[0], pair[1]))
    except (OSError, ValueError, TypeError, AttributeError, LookupError):  # absent, or not what is written below
        return {}
    return found if whole else {}


def _remember(known: dict[str, list[str]]) -> None:
    if sys.dont_write_bytecode:
        return
    partial = MEMORY.with_name(f"{MEMORY.name}.{uuid.uuid4().hex}")
    with suppress(OSError):  # where nothing can be written, Python keeps nothing either, and parses again next time
        MEMORY.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known))
        partial.replace(MEMORY)
    with suppress(OSError):
        partial.unlink(missing_ok=True)

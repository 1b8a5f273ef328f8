"""Fetching through DVC what a commit records, verified.

DVC can warn about a missing object and go on, so nothing that it delivers is believed before its hash is compared.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.errors import DataError


@dataclass(frozen=True)
class Unit:
    """A file or folder that DVC, or git itself, tracks as one thing."""

    path: str
    hash: str
    by: str
    """`md5`, `md5-dos2unix` (recorded by DVC 2 and older), another algorithm of DVC's, or `git`."""


@contextmanager
def opened(source: str, commit: str, cache: Path) -> Iterator[Any]:
    """A `DVCFileSystem` of one commit, with DVC's cache below `cache`."""
    from dvc.api import DVCFileSystem
    from dvc.repo.open_repo import clean_repos

    for library in ("dvc", "dvc_data", "dvc_objects"):  # what goes wrong is raised; their warnings would say it twice
        logging.getLogger(library).setLevel(logging.CRITICAL)
    config = {
        "cache": {"dir": str(cache / "objects")},
        "core": {"site_cache_dir": str(cache / "site"), "analytics": False},
    }
    with closing(DVCFileSystem(source, rev=commit, config=config)) as files:
        try:
            yield files
        finally:
            clean_repos()  # DVC clones a bare repository to a temporary folder, which only its own command line removes


def fetch(files: Any, unit: Unit, target: Path, name: str) -> None:
    """Write one unit to `target`, a file or a folder, and compare every byte with what the commit recorded.

    Args:
        files: what `opened` gave.
        name: the registry, for messages.

    Raises:
        DataError: an object is missing or damaged, or the remote can't be read.
    """
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.get(f"/{unit.path}", str(target), recursive=True, cache=True)
    except FileNotFoundError as error:
        raise _missing(unit, name, str(error.filename)) from error
    except (DvcException, DataIndexDirError, OSError) as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _missing(unit, name) from error
        text = " ".join(str(error.__cause__ or error).split())
        raise DataError(
            f"{name}: DVC can't fetch {unit.path} ({text}); check its remote and free disk space."
        ) from error
    if not target.exists():
        raise _missing(unit, name)
    _verify(unit, target, name)


def _missing(unit: Unit, name: str, file: str = "") -> DataError:
    """Names the file if DVC did: with a folder's list of files gone, too, nobody knows what was in it."""
    what = file if file.startswith(f"{unit.path}/") else "an object"
    return DataError(
        f"{name}: {what} of {unit.path} ({unit.hash}) is not in the DVC remote; run `dvc push` where it was added."
    )


def _verify(unit: Unit, target: Path, name: str) -> None:
    """Compare every byte with the hash that the commit recorded; other algorithms than MD5 can't be repeated here."""
    if not unit.by.startswith("md5"):
        return
    if not unit.hash.endswith(".dir"):
        same = _md5(target, unit.by) == unit.hash
    else:
        paths = sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
        if not paths:
            raise _missing(unit, name)
        # the manifest as dvc_data.hashfile.tree.Tree.as_bytes spells it
        manifest = [{"md5": _md5(target / path, unit.by), "relpath": path} for path in paths]
        same = hashlib.md5(json.dumps(manifest).encode(), usedforsecurity=False).hexdigest() == unit.hash[:-4]
    if not same:
        raise DataError(
            f"{name}: what DVC delivered for {unit.path} is not what the commit recorded ({unit.hash}): an object is "
            "missing or damaged in the remote, or in DVC's cache here; push it again and remove the cache."
        )


def _md5(path: Path, algorithm: str) -> str:
    if algorithm != "md5":
        from dvc_data.hashfile.hash import file_md5
        from dvc_objects.fs.local import LocalFileSystem

        return str(file_md5(str(path), LocalFileSystem(), name=algorithm))
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

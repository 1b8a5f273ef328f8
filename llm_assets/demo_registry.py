"""Makes a data registry: a git repository with DVC and a folder remote in one folder, and publishes changes to it.

    python -m llm_assets.demo_registry FOLDER                      makes the demo registry, once
    python -m llm_assets.demo_registry FOLDER --publish MESSAGE    publishes what was edited in FOLDER

The platform itself never writes to a registry; this script, tests and people do.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from llm_assets.demo_data import write_demo_data
from resources.errors import DataError, PlatformError
from resources.git import run_git

READY = ".ready"
REMOTE = ".remote"
AUTHOR = {"name": "Demo registry", "email": "demo-registry@localhost"}
FIRST_DATE = "2026-01-01T00:00:00+0000"
"""Of the first commit, so that it has the same hash each time it is made in the same place."""


def make_registry(folder: Path, write: Callable[[Path], Sequence[str]] = write_demo_data) -> bool:
    """Make a registry in `folder` unless it is there; returns whether it was made.

    It is built beside its place and renamed, so a folder with the name is whole. The DVC remote is `folder/.remote`,
    named in the committed configuration by its absolute path, so that `dvc pull` works in any clone on this machine.

    Args:
        write: writes the files into the folder it is given; returns the paths that DVC is to track.

    Raises:
        DataError: something else is in that place, or git or DVC fail.
    """
    folder = folder.absolute()
    if (folder / READY).exists():
        return False
    if folder.exists() and any(folder.iterdir()) and not _is_half_made(folder):
        raise DataError(
            f"{folder} holds something else than a half-made registry; remove it, or choose another folder."
        )
    partial = folder.with_name(f".{folder.name}.making-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        tracked = write(partial)
        _git(partial, "init", "--quiet", "--initial-branch=main")
        (partial / ".git" / "info" / "exclude").write_text(f"/{READY}\n/{REMOTE}/\n")
        _dvc(partial, "init")
        (partial / ".dvc" / "config").write_text(_config(folder / REMOTE))
        (partial / ".dvc" / "config.local").write_text(f"['remote \"storage\"']\n    url = {partial / REMOTE}\n")
        _add_and_push(partial, tracked)
        (partial / ".dvc" / "config.local").unlink()
        _commit(partial, "Data and evaluation sets", FIRST_DATE)
        (partial / READY).touch()
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def publish(
    folder: Path, message: str, edit: Callable[[Path], None] = lambda _: None, track: Sequence[str] = ()
) -> str:
    """Edit a registry's files, then add them to DVC, push and commit; returns the commit.

    Args:
        edit: changes files below the folder it is given.
        track: paths that DVC is to track from now on.

    Raises:
        DataError: nothing has changed, or git or DVC fail.
    """
    edit(folder)
    listing = _git(folder, "ls-files", "-z", "--", "*.dvc").split("\0")
    tracked = [name.removesuffix(".dvc") for name in listing if name]
    _add_and_push(folder, [*(name for name in tracked if (folder / name).exists()), *track])
    return _commit(folder, message)


def _is_half_made(folder: Path) -> bool:
    made = {".git", ".dvc", ".dvcignore", REMOTE, "chat", "evaluation", "reasoning"}
    has_commits = any((folder / ".git" / "refs" / "heads").glob("*"))
    return not has_commits and {path.name for path in folder.iterdir()} <= made


def _config(remote: Path) -> str:
    return f"[core]\n    analytics = false\n    remote = storage\n['remote \"storage\"']\n    url = {remote}\n"


def _add_and_push(folder: Path, paths: Sequence[str]) -> None:
    _dvc(folder, "add", *paths)
    _dvc(folder, "push")


def _commit(folder: Path, message: str, date: str | None = None) -> str:
    _git(folder, "add", "--all")
    if not _git(folder, "status", "--porcelain"):
        raise DataError(f"nothing has changed in {folder}; edit files before publishing.")
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} if date else {}
    author = [part for key, value in AUTHOR.items() for part in ("-c", f"user.{key}={value}")]
    _git(folder, *author, "-c", "commit.gpgsign=false", "commit", "--quiet", "--no-verify", "-m", message, **dates)
    return _git(folder, "rev-parse", "HEAD").strip()


def _git(folder: Path, *arguments: str, **environ: str) -> str:
    return run_git(["-C", str(folder), *arguments], environ=environ).decode()


def _dvc(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", arguments[0], "--quiet", *arguments[1:]]
    environ = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "tmp" / "site")}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"`dvc {' '.join(arguments[:3])}` failed in {folder}: {' '.join(done.stderr.split())}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 and one sentence on an error."""
    parser = argparse.ArgumentParser(description="Make the demo data registry once, or publish a change to it.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--publish", metavar="MESSAGE", help="add, push and commit what was edited in FOLDER")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.publish:
            print(f"published {publish(chosen.folder, chosen.publish)}")
        elif make_registry(chosen.folder):
            print(f"made the demo data registry {chosen.folder}")
    except PlatformError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

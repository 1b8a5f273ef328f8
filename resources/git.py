"""Reading a git repository with the git command: revisions, trees and blobs, nothing that writes history.

What DVC records inside those trees is no matter of this module (`resources/registry.py`).
"""

import fcntl
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resources.errors import DataError

LOCAL_SECONDS = 30
NETWORK_SECONDS = 45
_REDIRECTING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE")
"""Set while a git hook runs; they would make every command read another repository."""
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://|^[\w.-]+@[\w.-]+:")
_ALL_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_COMMIT = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")


def is_url(repo: str) -> bool:
    """Whether a repository is named by a URL (`https://...`, `git@host:path`) and not by a path."""
    return bool(_URL.match(repo))


def without_password(repo: str) -> str:
    """A repository's name as messages and records may show it."""
    return re.sub(r"//[^/@]+@", "//", repo)


@dataclass(frozen=True)
class GitObject:
    """What a commit holds at one path."""

    kind: str
    """`blob` or `tree`."""
    sha: str


class GitRepository:
    """One git directory on this machine; every method starts one git process, some milliseconds each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, tag or hash names; None if there is none."""
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        answer = self._run(*arguments, allowed=(0, 1, 128))
        return answer.decode().strip() or None

    def branches(self) -> list[str]:
        """Branch names, the latest changed first."""
        listing = self._run("for-each-ref", "--sort=-committerdate", "--format=%(refname:short)", "refs/heads")
        return listing.decode().split()

    def objects(self, commit: str, paths: Sequence[str]) -> dict[str, GitObject]:
        """Kind and hash of every path that the commit holds."""
        asked = "".join(f"{commit}:{path}\n" for path in paths).encode()
        lines = self._run("cat-file", "--batch-check=%(objecttype) %(objectname)", feed=asked).decode().splitlines()
        found = {
            path: line.split(" ") for path, line in zip(paths, lines, strict=True) if not line.endswith(" missing")
        }
        return {path: GitObject(kind, sha) for path, (kind, sha) in found.items()}

    def contents(self, shas: Sequence[str]) -> list[bytes]:
        """The bytes of small blobs, in order."""
        output = self._run("cat-file", "--batch", feed="".join(f"{sha}\n" for sha in shas).encode())
        blobs, position = [], 0
        for _ in shas:
            start = output.index(b"\n", position) + 1
            size = int(output[position:start].split()[2])
            blobs.append(output[start : start + size])
            position = start + size + 1
        return blobs

    def files(self, commit: str, folder: str) -> dict[str, str]:
        """Path -> blob hash of every file below a folder of the commit; links and submodules left out."""
        listing = self._run("ls-tree", "-r", "-z", commit, "--", f"{folder}/" if folder else ".").decode()
        entries = (line.split("\t", 1) for line in listing.split("\0") if line)
        return {path: head.split(" ")[2] for head, path in entries if head.startswith("100")}

    def last_change(self, commit: str, paths: Sequence[str]) -> str:
        """The newest commit, up to this one, that changed one of the paths; empty if none did."""
        literal = [f":(literal){path}" for path in paths]
        return self._run("log", "-1", "--format=%H", commit, "--", *literal).decode().strip()

    def extract(self, sha: str, target: Path) -> None:
        """Write one blob to a file and check its hash.

        Raises:
            DataError: the object is damaged.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            run_git(["--git-dir", str(self.directory), "cat-file", "blob", sha], seconds=600, output=file.fileno())
        hasher = hashlib.sha1(usedforsecurity=False) if len(sha) == 40 else hashlib.sha256()
        hasher.update(b"blob %d\0" % target.stat().st_size)
        with target.open("rb") as file:
            while block := file.read(1 << 20):
                hasher.update(block)
        if hasher.hexdigest() != sha:
            raise DataError(f"git object {sha} in {self.directory} is damaged; run `git fsck` there.")

    def _run(self, *arguments: str, feed: bytes = b"", allowed: Sequence[int] = (0,)) -> bytes:
        return run_git(["--git-dir", str(self.directory), *arguments], feed=feed, allowed=allowed)


class Mirror(GitRepository):
    """A bare copy of a remote repository, brought up to date when a revision is asked for that it lacks."""

    def __init__(self, url: str, cache: Path) -> None:
        super().__init__(cache / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git")
        self.url = url

    def commit(self, revision: str) -> str | None:
        """The commit that the revision names at the remote now; None if there is none.

        Raises:
            DataError: the remote does not answer in time, or refuses.
        """
        with self._locked():
            if not (self.directory / "HEAD").exists():
                run_git(["init", "--quiet", "--bare", str(self.directory)])
            wanted = revision if _COMMIT.match(revision) else self._remote_commit(revision)
            if wanted and (have := super().commit(wanted)):
                return have
            run_git(
                [
                    "--git-dir",
                    str(self.directory),
                    "fetch",
                    "--quiet",
                    "--prune",
                    "--force",
                    "--",
                    self.url,
                    *_ALL_REFS,
                ],
                seconds=NETWORK_SECONDS,
            )
            return super().commit(wanted or revision)

    def _remote_commit(self, revision: str) -> str | None:
        names = [f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}", f"refs/heads/{revision}"]
        listing = run_git(["ls-remote", "--quiet", "--", self.url, *names], seconds=NETWORK_SECONDS).decode()
        refs = {name: sha for sha, name in (line.split("\t") for line in listing.splitlines())}
        return next((refs[name] for name in names if name in refs), None)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with self.directory.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def run_git(
    arguments: Sequence[str],
    *,
    feed: bytes = b"",
    seconds: float = LOCAL_SECONDS,
    allowed: Sequence[int] = (0,),
    output: int = subprocess.PIPE,
    environ: Mapping[str, str] | None = None,
) -> bytes:
    """Run git without prompts; returns its output.

    Raises:
        DataError: git is not installed, does not end within `seconds`, or ends with a status that is not allowed.
    """
    full = {"GIT_SSH_COMMAND": "ssh -oBatchMode=yes", **os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    full = {name: value for name, value in full.items() if name not in _REDIRECTING} | dict(environ or {})
    words = " ".join(without_password(argument) for argument in arguments[:8])
    try:
        done = subprocess.run(
            ["git", *arguments],
            input=feed,
            stdout=output,
            stderr=subprocess.PIPE,
            env=full,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise DataError("git is not installed; the data registry is a git repository, install git.") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"`git {words}` did not end within {seconds:g} s; is the repository reachable?") from error
    if done.returncode not in allowed:
        reason = without_password(" ".join(done.stderr.decode("utf-8", "replace").split())) or "no message"
        raise DataError(f"`git {words}` failed ({reason}); check the repository and your access to it.")
    return done.stdout or b""

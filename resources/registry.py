"""The data registry: a git repository whose data DVC tracks.

`observe` says what a revision holds, from git alone, in milliseconds. `pull` fetches data through DVC and checks
every byte against what the commit recorded. What the data means is no matter of this module.
"""

import hashlib
import json
import posixpath
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from resources.dvc_objects import Unit, fetch, opened
from resources.errors import DataError
from resources.git import GitRepository, Mirror, is_url, without_password


@dataclass(frozen=True)
class Observation:
    """What a registry holds at one commit, as far as it was asked for."""

    commit: str
    objects: dict[str, str]
    """Path -> hash of its content; for data below a folder that DVC tracks as one, the folder's hash."""


class DataRegistry:
    """Reads data registries; keeps mirrors of remote ones and DVC's object cache below `cache`."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def observe(self, repo: str, rev: str, paths: Sequence[str]) -> Observation:
        """Resolve a revision and tell the hash of everything at `paths`, without fetching data.

        Args:
            repo: a git URL, or the path of a repository.
            rev: branch, tag or commit.

        Raises:
            DataError: no such repository, revision or path; it names what there is instead.
        """
        git = self._open(repo)
        commit = _commit(git, repo, rev)
        return Observation(commit, {path: _hash_of(_units(git, repo, commit, path)) for path in paths})

    def last_change(self, repo: str, commit: str, paths: Sequence[str]) -> str:
        """The newest commit, up to `commit`, that changed anything at `paths`."""
        git = self._open(repo)
        records = [name for path in paths for name in _records(posixpath.normpath(path))]
        return git.last_change(_commit(git, repo, commit), [*paths, *records]) or commit

    def pull(self, repo: str, commit: str, path: str, target: Path) -> list[Path]:
        """Fetch the files at `path` into `target`, below their names in the registry; returns them, sorted.

        Raises:
            DataError: an object is missing or damaged, a file is empty, or there is none.
        """
        git = self._open(repo)
        units = _units(git, repo, _commit(git, repo, commit), path)
        scratch = target / f".pull-{uuid.uuid4().hex}"
        try:
            self._fetch(git, repo, commit, units, scratch)
            fetched = scratch / path
            if not fetched.exists():
                raise DataError(
                    f"{_name(repo, commit)}: {path} is not in {units[0].path}, which holds it; fix the path."
                )
            files = sorted(file for file in ([fetched] if fetched.is_file() else fetched.rglob("*")) if file.is_file())
            empty = [file.relative_to(scratch).as_posix() for file in files if file.stat().st_size == 0]
            if empty or not files:
                raise DataError(
                    f"{_name(repo, commit)}: {', '.join(empty) or path} is empty; publish data there first."
                )
            return [_move(file, target / file.relative_to(scratch)) for file in files]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _open(self, repo: str) -> GitRepository:
        if is_url(repo):
            return Mirror(repo, self.cache / "registries")
        folder = Path(repo)
        for directory in (folder / ".git", folder):
            if (directory / "HEAD").is_file() or (directory != folder and directory.is_file()):
                return GitRepository(directory)
        state = "is not a git repository" if folder.exists() else "does not exist"
        raise DataError(
            f"data registry {repo} {state}; run `make setup` for the demo registry, or set data.repo of the line."
        )

    def _fetch(self, git: GitRepository, repo: str, commit: str, units: Sequence[Unit], target: Path) -> None:
        for unit in units:
            if unit.by == "git":
                git.extract(unit.hash, target / unit.path)
        tracked = [unit for unit in units if unit.by != "git"]
        if not tracked:
            return
        source = str(git.directory) if isinstance(git, Mirror) else repo
        with opened(source, commit, self.cache / "dvc") as files:
            for unit in tracked:
                fetch(files, unit, target / unit.path, _name(repo, commit))


def _name(repo: str, revision: str) -> str:
    return f"data registry {without_password(repo)} at {revision[:12] if len(revision) == 40 else revision}"


def _commit(git: GitRepository, repo: str, rev: str) -> str:
    commit = git.commit(rev)
    if commit is None:
        branches = git.branches()
        some = ", ".join(branches[:8]) + (", ..." if len(branches) > 8 else "")
        raise DataError(
            f"data registry {without_password(repo)} has no revision {rev!r}; its branches are {some or '(none yet)'}."
        )
    return commit


def _units(git: GitRepository, repo: str, commit: str, path: str) -> list[Unit]:
    """What has to be read for one path: itself, everything below it, or the tracked folder that it lies in."""
    path = posixpath.normpath(path)
    if path.startswith(("/", "../")) or path in (".", "..") or not path.isprintable():
        raise DataError(f"{path!r} is no path inside a data registry; write it relative to the registry's top.")
    records = _records(path)
    objects = git.objects(commit, [path, *records])
    recorded = {name: objects[name].sha for name in records if name in objects}
    found = objects.get(path)
    below: dict[str, str] = {}
    if found and found.kind == "tree":
        below = git.files(commit, path)
        recorded |= {name: sha for name, sha in below.items() if _is_record(name)}
    outputs = _outputs(git, recorded, _name(repo, commit))
    around = [unit for unit in outputs if unit.path == path or path.startswith(f"{unit.path}/")]
    if around:
        return [max(around, key=lambda unit: len(unit.path))]
    inside = [unit for unit in outputs if unit.path.startswith(f"{path}/")]
    inside += [Unit(name, sha, "git") for name, sha in below.items() if not _is_record(name) and "/.git" not in name]
    if found and found.kind == "blob":
        inside = [Unit(path, found.sha, "git")]
    if not inside:
        raise DataError(
            f"{_name(repo, commit)} tracks no {path}: neither {path}.dvc nor a file or folder of that name is "
            "committed; run `dvc add` and commit there, or fix the path in the line."
        )
    return sorted(inside, key=lambda unit: unit.path)


def _records(path: str) -> list[str]:
    """Where DVC may have recorded a path: beside it, beside a folder that holds it, or in a pipeline's lock file."""
    parts = path.split("/")
    parents = ["/".join(parts[:depth]) for depth in range(len(parts))]
    return [f"{name}.dvc" for name in (*parents[1:], path)] + [posixpath.join(name, "dvc.lock") for name in parents]


def _is_record(name: str) -> bool:
    return name.endswith(".dvc") or posixpath.basename(name) == "dvc.lock"


def _outputs(git: GitRepository, recorded: Mapping[str, str], name: str) -> list[Unit]:
    """Every output that `.dvc` and `dvc.lock` files record."""
    units = {}
    for file, content in zip(recorded, git.contents(list(recorded.values())), strict=True):
        try:
            record = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            stages = record.get("stages", {}).values() if file.endswith("dvc.lock") else [record]
            folders = posixpath.join(posixpath.dirname(file), record.get("wdir", ""))
            outs = [out for stage in stages for out in stage.get("outs") or []]
            for out in outs:
                path = posixpath.normpath(posixpath.join(folders, out["path"]))
                algorithm = out.get("hash") or ("md5-dos2unix" if "md5" in out else "")
                key = algorithm.removesuffix("-dos2unix") or next(k for k in ("etag", "checksum") if k in out)
                units[path] = Unit(path, str(out[key]), algorithm or key)
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, StopIteration) as error:
            raise DataError(f"{name}: {file} is not a record of DVC's ({error!r}); run `dvc status` there.") from error
    return list(units.values())


def _hash_of(units: Sequence[Unit]) -> str:
    if len(units) == 1:
        return units[0].hash
    listing = json.dumps([[unit.path, unit.hash] for unit in units])
    return f"{hashlib.sha256(listing.encode()).hexdigest()}.{len(units)}-objects"


def _move(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return source.replace(target)

"""The data registry is observed with git alone and never delivers what the commit did not record."""

import shutil
import subprocess
from pathlib import Path

import pytest

from llm_assets.demo_registry import make_registry, publish
from resources.errors import DataError
from resources.git import Mirror, run_git
from resources.registry import DataRegistry
from tests.data.small_registry import chat, write_rows, write_small_data

PATHS = ["chat/train", "evaluation/held_out.jsonl"]


def objects_of(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / ".remote").rglob("*") if path.is_file())


def test_an_unrelated_commit_changes_the_commit_but_no_hash(registry_folder: Path, registry: DataRegistry) -> None:
    before = registry.observe(str(registry_folder), "main", PATHS)
    publish(registry_folder, "Docs", lambda folder: (folder / "README.md").write_text("Other words.\n") and None)
    after = registry.observe(str(registry_folder), "main", PATHS)
    assert after.commit != before.commit
    assert after.objects == before.objects
    first = run_git(["-C", str(registry_folder), "rev-list", "--max-parents=0", "HEAD"]).decode().strip()
    assert registry.last_change(str(registry_folder), after.commit, PATHS) == first


def test_changed_data_changes_the_hash_of_its_path_only(registry_folder: Path, registry: DataRegistry) -> None:
    before = registry.observe(str(registry_folder), "main", PATHS).objects
    publish(registry_folder, "More", lambda folder: write_rows(folder / "chat/train/c.jsonl", [chat("new", "New.")]))
    after = registry.observe(str(registry_folder), "main", PATHS).objects
    assert after["chat/train"] != before["chat/train"]
    assert after["evaluation/held_out.jsonl"] == before["evaluation/held_out.jsonl"]


def test_an_older_commit_delivers_the_older_bytes(
    registry_folder: Path, registry: DataRegistry, tmp_path: Path
) -> None:
    old = registry.observe(str(registry_folder), "main", PATHS)
    wanted = (registry_folder / "chat/train/a.jsonl").read_bytes()
    publish(registry_folder, "Less", lambda folder: write_rows(folder / "chat/train/a.jsonl", [chat("x", "X.")]))
    assert registry.observe(str(registry_folder), old.commit, PATHS).objects == old.objects
    files = registry.pull(str(registry_folder), old.commit, "chat/train", tmp_path / "out")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == [
        "chat/train/a.jsonl",
        "chat/train/b.jsonl",
    ]
    assert files[0].read_bytes() == wanted


def test_a_path_may_be_a_file_a_folder_a_part_of_one_or_plain_git(
    pristine_registry: Path, registry: DataRegistry
) -> None:
    repo, target = str(pristine_registry), registry.cache / "out"
    paths = ["chat/train/b.jsonl", "evaluation", "README.md"]
    seen = registry.observe(repo, "main", paths)
    assert set(seen.objects) == set(paths)
    pulled = [
        file.relative_to(target).as_posix() for path in paths for file in registry.pull(repo, seen.commit, path, target)
    ]
    assert pulled == ["chat/train/b.jsonl", "evaluation/facts.jsonl", "evaluation/held_out.jsonl", "README.md"]


def test_outputs_of_a_dvc_pipeline_are_found_in_its_lock_file(registry_folder: Path, registry: DataRegistry) -> None:
    record = (registry_folder / "evaluation/facts.jsonl.dvc").read_text()
    run_git(["-C", str(registry_folder), "rm", "-q", "--cached", "evaluation/facts.jsonl.dvc"])
    (registry_folder / "evaluation/facts.jsonl.dvc").unlink()
    outs = record.replace("outs:\n", "").replace("path: facts.jsonl", "path: evaluation/facts.jsonl")
    lock = "schema: '2.0'\nstages:\n  make:\n    cmd: make\n    outs:\n" + "".join(
        f"    {line}\n" for line in outs.splitlines()
    )
    (registry_folder / "dvc.lock").write_text(lock)
    (registry_folder / "dvc.yaml").write_text("stages:\n  make:\n    cmd: make\n    outs: [evaluation/facts.jsonl]\n")
    run_git(["-C", str(registry_folder), "add", "dvc.lock", "dvc.yaml"])
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    run_git(["-C", str(registry_folder), *identity, "commit", "-qm", "As a pipeline"])
    seen = registry.observe(str(registry_folder), "main", ["evaluation/facts.jsonl"])
    files = registry.pull(str(registry_folder), seen.commit, "evaluation/facts.jsonl", registry.cache / "out")
    assert files[0].read_bytes() == (registry_folder / "evaluation/facts.jsonl").read_bytes()


def test_a_remote_repository_is_mirrored_and_followed(
    registry_folder: Path, registry: DataRegistry, tmp_path: Path
) -> None:
    url = f"file://{registry_folder}"
    first = registry.observe(url, "main", PATHS)
    assert first == registry.observe(str(registry_folder), "main", PATHS)
    commit = publish(
        registry_folder, "More", lambda folder: write_rows(folder / "chat/train/c.jsonl", [chat("n", "N.")])
    )
    assert registry.observe(url, "main", PATHS).commit == commit
    assert len(registry.pull(url, commit, "chat/train", tmp_path / "out")) == 3


def test_a_mirror_is_not_fetched_again_while_nothing_changed(
    registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(f"file://{registry_folder}", tmp_path)
    mirror.commit("main")
    commands: list[list[str]] = []
    real = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: commands.append(command) or real(command, **options)
    )
    mirror.commit("main")
    assert commands
    assert not any("fetch" in command for command in commands)


def test_an_unreachable_remote_is_one_clear_error_without_its_password(registry: DataRegistry) -> None:
    with pytest.raises(DataError, match="check the repository and your access") as caught:
        registry.observe("http://user:secret@127.0.0.1:9/data.git", "main", PATHS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("damage", ["one object gone", "manifest gone", "all gone", "one byte flipped"])
def test_data_that_the_remote_lost_or_changed_is_refused(
    damage: str, registry_folder: Path, registry: DataRegistry, tmp_path: Path
) -> None:
    seen = registry.observe(str(registry_folder), "main", PATHS)
    manifest = next(path for path in objects_of(registry_folder) if path.name.endswith(".dir"))
    digest = subprocess.run(
        ["md5sum", registry_folder / "chat/train/a.jsonl"], capture_output=True, text=True, check=True
    ).stdout
    shard = next(path for path in objects_of(registry_folder) if path.name == digest[2:32])
    if damage == "one object gone":
        shard.unlink()
    elif damage == "manifest gone":
        manifest.unlink()
    elif damage == "all gone":
        shutil.rmtree(registry_folder / ".remote")
    else:
        shard.chmod(0o644)
        shard.write_bytes(shard.read_bytes().replace(b"Answer", b"answer", 1))
    with pytest.raises(DataError, match="push") as caught:
        registry.pull(str(registry_folder), seen.commit, "chat/train", tmp_path / "out")
    assert ("chat/train/a.jsonl" if damage == "one object gone" else "chat/train") in str(caught.value)
    assert not list((tmp_path / "out").glob("**/*.jsonl"))


def test_an_empty_file_is_refused(tmp_path: Path, registry: DataRegistry) -> None:
    def write(folder: Path) -> list[str]:
        (folder / "empty.jsonl").write_text("")
        return ["empty.jsonl"]

    make_registry(tmp_path / "registry", write)
    seen = registry.observe(str(tmp_path / "registry"), "main", ["empty.jsonl"])
    with pytest.raises(DataError, match="is empty; publish data"):
        registry.pull(str(tmp_path / "registry"), seen.commit, "empty.jsonl", tmp_path / "out")


@pytest.mark.parametrize(
    ("rev", "path", "message"),
    [
        ("nope", "chat/train", "no revision 'nope'; its branches are main"),
        ("--help", "chat/train", "no revision '--help'"),
        ("main", "chat/nope", "tracks no chat/nope"),
        ("main", "../chat", "no path inside a data registry"),
        ("main", "/etc/passwd", "no path inside a data registry"),
    ],
)
def test_what_is_not_there_is_named(
    rev: str, path: str, message: str, pristine_registry: Path, registry: DataRegistry
) -> None:
    with pytest.raises(DataError, match=message):
        registry.observe(str(pristine_registry), rev, [path])


def test_a_folder_that_is_no_repository_is_not_mistaken_for_the_one_around_it(
    registry_folder: Path, registry: DataRegistry
) -> None:
    with pytest.raises(DataError, match="is not a git repository; run `make setup`"):
        registry.observe(str(registry_folder / "chat"), "main", ["train"])
    with pytest.raises(DataError, match="does not exist"):
        registry.observe(str(registry_folder / "nowhere"), "main", ["train"])


def test_a_clone_elsewhere_can_pull_with_dvc_alone(pristine_registry: Path, tmp_path: Path) -> None:
    import sys

    run_git(["clone", "--quiet", str(pristine_registry), str(tmp_path / "clone")])
    subprocess.run([sys.executable, "-m", "dvc", "pull", "--quiet"], cwd=tmp_path / "clone", check=True)
    assert (tmp_path / "clone/chat/train/a.jsonl").read_bytes() == (
        pristine_registry / "chat/train/a.jsonl"
    ).read_bytes()


def test_a_registry_is_made_once_and_half_made_ones_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    (folder / ".git" / "refs" / "heads").mkdir(parents=True)
    (folder / "chat").mkdir()
    assert make_registry(folder, write_small_data)
    commit = run_git(["-C", str(folder), "rev-parse", "HEAD"])
    assert not make_registry(folder, write_small_data)
    shutil.rmtree(folder)
    assert make_registry(folder, write_small_data)
    assert run_git(["-C", str(folder), "rev-parse", "HEAD"]) == commit


def test_a_registry_never_replaces_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear ...")
    with pytest.raises(DataError, match="holds something else"):
        make_registry(tmp_path / "letters", write_small_data)
    assert (tmp_path / "letters" / "dear.txt").exists()


def test_publishing_nothing_is_refused(registry_folder: Path) -> None:
    with pytest.raises(DataError, match="nothing has changed"):
        publish(registry_folder, "Nothing")

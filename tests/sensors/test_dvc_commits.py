"""A commit that changes what the line reads asks for exactly one training, whatever happens to the daemon."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from llm_assets.line import Line
from llm_assets.records.data import DatasetVersion, EvaluationSets
from resources.git import run_git
from resources.registry import DataRegistry
from resources.settings import Settings
from resources.store import ArtifactStore
from sensors.dvc_commits import dvc_commits
from tests.data.small_registry import line_on, write_small_data


class Registry:
    """A git repository with data in it, watched by the sensor of a line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "registry"
        self.folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        write_small_data(self.folder)
        self.commit("Data")
        self.line: Line = line_on(self.folder)
        self.resources = {
            "registry": DataRegistry(folder / "cache"),
            "settings": Settings.from_env({"LLM_HOME": str(folder / "home")}),
            "store": ArtifactStore(str(folder / "store"), folder / "cache"),
        }
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.launched: list[str] = []
        self.said = ""

    def git(self, *arguments: str) -> None:
        author = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        run_git(["-C", str(self.folder), *author, *arguments])

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def publish(self, text: str, path: str = "chat/train/a.jsonl") -> None:
        (self.folder / path).write_text(text + "\n")
        self.commit(text)

    def tick(self, remember: bool = True) -> int:
        """Runs that the daemon launches: it drops a request whose key it has launched before."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=self.resources)
        result = dvc_commits(self.line)(context)
        assert isinstance(result, dg.SensorResult)
        self.said = str(getattr(result.skip_reason, "skip_message", result.skip_reason))
        if remember and result.cursor is not None:
            self.cursor = result.cursor
        keys = [str(request.run_key) for request in result.run_requests or []]
        new = [key for key in keys if key not in self.launched]
        self.launched += new
        return len(new)

    def materialize(self, objects: dict[str, str]) -> None:
        """Publish a dataset and evaluation sets as if they had been made of these objects and of the present sets."""
        store = self.resources["store"]
        assert isinstance(store, ArtifactStore)
        nothing = store.put_files({"empty": b""})
        dataset = DatasetVersion.model_validate(
            {"objects": objects, "commit": "c", "files": nothing, "quarantine": nothing, "rejected": {}}
            | dict.fromkeys(("read", "train", "validation", "duplicates", "contaminated"), 0)
            | {"categories": {}, "languages": {}}
        )
        sets = EvaluationSets(objects=self.objects("evaluation/facts.jsonl", "evaluation/held_out.jsonl"), sets={})
        for name, record in (("dataset", dataset), ("evaluation_sets", sets)):
            event = dg.AssetMaterialization(["small", name], metadata={"record": record.save(store)})
            self.instance.report_runless_asset_event(event)

    def objects(self, *paths: str) -> dict[str, str]:
        registry = self.resources["registry"]
        assert isinstance(registry, DataRegistry)
        return registry.observe(str(self.folder), "main", list(paths)).objects


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_the_first_look_takes_the_baseline_where_nothing_was_ever_trained(registry: Registry) -> None:
    assert registry.tick() == 0
    assert "baseline" in registry.said


def test_the_first_look_starts_nothing_if_the_dataset_is_of_this_content(registry: Registry) -> None:
    registry.materialize(registry.objects("chat/train"))
    assert registry.tick() == 0


def test_the_first_look_finds_what_was_pushed_while_no_daemon_ran(registry: Registry) -> None:
    registry.materialize(registry.objects("chat/train"))
    registry.publish("new")
    assert [registry.tick() for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize("path", ["chat/train/new.jsonl", "evaluation/facts.jsonl"])
def test_a_commit_that_changes_what_the_line_reads_starts_one_training(registry: Registry, path: str) -> None:
    registry.tick()
    registry.publish("new", path)
    assert [registry.tick() for _ in range(3)] == [1, 0, 0]
    context = dg.build_sensor_context(cursor=registry.cursor, resources=registry.resources)
    assert json.loads(context.cursor or "")["commit"] in registry.launched[0]


def test_a_commit_that_changes_something_else_starts_nothing(registry: Registry) -> None:
    registry.tick()
    registry.publish("words", "README.md")
    registry.commit("nothing at all")
    assert registry.tick() == 0


def test_several_commits_between_two_looks_start_one_training(registry: Registry) -> None:
    registry.tick()
    registry.publish("one")
    registry.publish("two")
    assert [registry.tick() for _ in range(2)] == [1, 0]


def test_data_that_comes_back_to_an_earlier_state_starts_a_training_each_time(registry: Registry) -> None:
    registry.publish("one")
    registry.tick()
    for text in ("two", "one", "two"):
        registry.publish(text)
        assert registry.tick() == 1
    registry.git("reset", "--quiet", "--hard", "HEAD~1")  # a branch that is moved back has no new commit
    assert registry.tick() == 1
    assert len(set(registry.launched)) == 4


def test_a_daemon_that_dies_before_it_remembers_starts_no_second_training(registry: Registry) -> None:
    registry.tick()
    registry.publish("new")
    assert registry.tick(remember=False) == 1
    assert registry.tick() == 0
    assert registry.tick() == 0


def test_a_registry_that_is_away_is_named_and_nothing_is_lost(registry: Registry) -> None:
    registry.tick()
    registry.publish("new")
    away = registry.folder.with_name("away")
    shutil.move(registry.folder, away)
    assert registry.tick() == 0
    assert str(registry.folder) in registry.said
    shutil.move(away, registry.folder)
    assert registry.tick() == 1


def test_a_dataset_whose_record_is_gone_counts_as_other_data(registry: Registry, tmp_path: Path) -> None:
    registry.materialize(registry.objects("chat/train"))
    shutil.rmtree(tmp_path / "store" / "records")
    assert registry.tick() == 1

"""The data stage as Dagster runs it: what is computed, what is reused, what stops a run, and what stays visible."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_assets.data.assets import definitions_for
from llm_assets.data.checks import dataset_gates, evaluation_set_gates
from llm_assets.data.sources import evaluation_source, training_source
from llm_assets.demo_registry import publish
from llm_assets.records.data import DatasetVersion, EvaluationSets
from resources.registry import DataRegistry, Observation
from tests.data.small_registry import Stage, chat, failure_of, line_on, materialized, write_rows


def dataset_of(stage: Stage, found: dict[str, dict[str, object]]) -> DatasetVersion:
    return DatasetVersion.load(stage.store, str(found["dataset"]["record"]))


def test_a_first_run_publishes_and_a_second_one_reuses(stage: Stage, pristine_registry: Path) -> None:
    line = line_on(pristine_registry)
    first, second = stage.run(line), stage.run(line)
    assert first.success
    assert second.success
    before, after = materialized(first), materialized(second)
    assert [before[name]["reused"] for name in ("evaluation_sets", "dataset", "quarantine")] == [False] * 3
    assert [after[name]["reused"] for name in ("evaluation_sets", "dataset", "quarantine")] == [True] * 3
    assert before["dataset"]["record"] == after["dataset"]["record"]
    data = dataset_of(stage, before)
    assert data.read == 60 == data.train + data.validation
    assert len((stage.store.path(data.files) / "train.jsonl").read_text().splitlines()) == data.train
    assert all(check.passed for check in first.get_asset_check_evaluations())
    (observation,) = first.get_asset_observation_events()
    assert observation.asset_observation_data.asset_observation.metadata["commit"].value == data.commit


def test_an_unrelated_commit_reuses_and_new_evaluation_data_leaves_the_dataset_alone(
    stage: Stage, registry_folder: Path
) -> None:
    line = line_on(registry_folder)
    first = materialized(stage.run(line))
    publish(registry_folder, "Docs", lambda folder: write_rows(folder / "README.md", ["Other words."]))
    second = materialized(stage.run(line))
    assert second["dataset"]["reused"]
    assert second["evaluation_sets"]["reused"]
    rows = [chat(f"e{n}", f"Held out {n}.") for n in range(9)]
    publish(registry_folder, "Exam", lambda folder: write_rows(folder / "evaluation/held_out.jsonl", rows))
    third = materialized(stage.run(line))
    assert not third["evaluation_sets"]["reused"]
    assert third["dataset"]["record"] == first["dataset"]["record"]


def test_the_quarantine_is_visible_though_the_contract_stops_the_run(stage: Stage, registry_folder: Path) -> None:
    bad = ["not json", "", json.dumps(chat("k", "nuqneH", language="klingon")), *["{}"] * 8]
    publish(registry_folder, "Bad rows", lambda folder: write_rows(folder / "chat/train/c.jsonl", bad))
    run = stage.run(line_on(registry_folder))
    assert not run.success
    failed = {check.check_name: check.description for check in run.get_asset_check_evaluations() if not check.passed}
    assert list(failed) == ["contract"]
    assert str(failed["contract"]).startswith("FAIL: 0.1429")
    found = materialized(run)["quarantine"]
    assert found["rows"] == 10
    assert "| chat/train/c.jsonl:3 | wrong_language | `" in str(found["preview"])
    written = [json.loads(row) for row in Path(str(found["path"])).read_text().splitlines()]
    assert [row["line"] for row in written] == [1, *range(3, 12)]
    assert written[0] == {"file": "chat/train/c.jsonl", "line": 1, "reason": "not_json", "raw": "not json"}


def test_training_rows_with_a_held_out_answer_are_left_out_and_counted(stage: Stage, registry_folder: Path) -> None:
    leak = [chat("leak", "held OUT 3.", prompt="Another question?")]
    publish(registry_folder, "Leak", lambda folder: write_rows(folder / "chat/train/c.jsonl", leak))
    run = stage.run(line_on(registry_folder))
    assert run.success
    data = dataset_of(stage, materialized(run))
    assert data.contaminated == data.rejected["contamination"] == 1
    assert data.train + data.validation == 60


def test_a_missing_object_fails_with_one_clear_sentence_and_publishes_nothing(
    stage: Stage, registry_folder: Path
) -> None:
    for path in (registry_folder / ".remote").rglob("*.dir"):
        path.unlink()
    run = stage.run(line_on(registry_folder))
    assert "is not in the DVC remote; run `dvc push`" in failure_of(run)
    assert set(materialized(run)) == {"evaluation_sets"}


def test_a_broken_evaluation_set_names_file_and_line(stage: Stage, registry_folder: Path) -> None:
    rows = [chat("a", "A."), "{broken"]
    publish(registry_folder, "Exam", lambda folder: write_rows(folder / "evaluation/held_out.jsonl", rows))
    assert "evaluation/held_out.jsonl, line 2" in failure_of(stage.run(line_on(registry_folder)))


def test_a_missing_registry_says_how_to_get_one(stage: Stage, tmp_path: Path) -> None:
    assert "make setup" in failure_of(stage.run(line_on(tmp_path / "nowhere")))


def test_dataset_alone_can_be_materialized(stage: Stage, pristine_registry: Path) -> None:
    line = line_on(pristine_registry)
    assert stage.run(line, "evaluation_sets").success
    alone = stage.run(line, "dataset")
    assert alone.success
    assert set(materialized(alone)) == {"dataset"}


def test_a_push_in_the_middle_of_a_run_does_not_reach_it(stage: Stage, registry_folder: Path) -> None:
    class PushedMeanwhile(DataRegistry):
        def observe(self, repo: str, rev: str, paths: Sequence[str]) -> Observation:
            seen = super().observe(repo, rev, paths)
            if paths == ["chat/train"] and not (registry_folder / "chat/train/c.jsonl").exists():
                publish(registry_folder, "More", lambda f: write_rows(f / "chat/train/c.jsonl", [chat("n", "N.")]))
            return seen

    stage.registry = PushedMeanwhile(stage.registry.cache)
    run = stage.run(line_on(registry_folder))
    (observation,) = run.get_asset_observation_events()
    observed = observation.asset_observation_data.asset_observation.metadata["commit"].value
    found = materialized(run)
    assert found["dataset"]["observed_commit"] == observed
    assert dataset_of(stage, found).read == 60


def test_sources_change_with_what_is_read(stage: Stage, registry_folder: Path) -> None:
    line = line_on(registry_folder)
    train = training_source(line, stage.registry, stage.settings)
    exam = evaluation_source(line, stage.registry, stage.settings)
    publish(registry_folder, "More", lambda folder: write_rows(folder / "chat/train/c.jsonl", [chat("n", "N.")]))
    assert training_source(line, stage.registry, stage.settings).content_digest != train.content_digest
    assert evaluation_source(line, stage.registry, stage.settings).content_digest == exam.content_digest


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("contract", {"rejected": {"not_json": 10}, "read": 110}),
        ("volume", {"train": 5, "validation": 1, "read": 6}),
        ("volume", {"train": 19, "validation": 81}),
        ("duplicates", {"duplicates": 200, "read": 300}),
        ("contamination", {"contaminated": 1}),
        ("reconciles", {"read": 101}),
        ("split", {"train": 100, "validation": 0}),
        ("distribution", {"categories": {"a": 99, "b": 1}}),
        ("contract", {"read": 0}),
    ],
)
def test_each_gate_stops_what_it_is_for(gate: str, change: dict[str, object], stage: Stage, tmp_path: Path) -> None:
    files = stage.store.put_files({"x": b"x"})
    good = DatasetVersion(
        objects={},
        commit="c",
        files=files,
        quarantine=files,
        read=100,
        train=90,
        validation=10,
        duplicates=0,
        rejected={},
        categories={"a": 50, "b": 50},
        languages={"english": 100},
        contaminated=0,
    )
    gates = dataset_gates(line_on(tmp_path))
    assert all(each.judge(good).passed for each in gates)
    failed = [each.name for each in gates if not each.judge(good.model_copy(update=change)).passed]
    assert gate in failed


def test_contaminated_rows_are_no_breach_of_the_contract(stage: Stage, tmp_path: Path) -> None:
    files = stage.store.put_files({"x": b"x"})
    left_out = DatasetVersion(
        objects={},
        commit="c",
        files=files,
        quarantine=files,
        read=100,
        train=55,
        validation=5,
        duplicates=0,
        rejected={"contamination": 40},
        categories={"a": 30, "b": 30},
        languages={"english": 60},
        contaminated=40,
    )
    assert all(gate.judge(left_out).passed for gate in dataset_gates(line_on(tmp_path)))


def test_no_evaluation_set_is_not_enough() -> None:
    assert not any(gate.judge(EvaluationSets(objects={}, sets={})).passed for gate in evaluation_set_gates())


def test_every_asset_of_the_stage_is_owned_by_whom_the_line_names(tmp_path: Path) -> None:
    assets = definitions_for(line_on(tmp_path)).assets or ()
    owners = {spec.key.path[-1]: list(spec.owners) for asset in assets for spec in asset.specs}
    names = ("source_dataset", "evaluation_sets", "dataset", "quarantine")
    assert owners == {name: ["team:tests"] for name in names}

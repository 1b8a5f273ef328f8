"""Training on a tiny model by the real child: what it publishes, what MLflow knows of it, and how it stops."""

import json
import logging
import math
import threading
import time
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import psutil
import pytest

from llm_assets.training.assets import log_curve
from llm_assets.training.batches import batches, learning_rate
from llm_assets.training.checks import checkpoint_gates
from llm_assets.training.request import TrainingRequest
from resources.compute import Compute, Json
from resources.errors import ModelError
from resources.tracking import Tracking
from tests.training.small_training import STEPS, TRAINING, SmallTraining, Trained, failures, trained_once

NO_TRACKER = "sqlite:////dev/null/mlflow.db"


@pytest.fixture(scope="module")
def trained(tiny_model_dir: Path) -> Trained:
    return trained_once(tiny_model_dir)


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, object]]:
    return {
        event.materialization.asset_key.path[-1]: {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }


def test_an_adapter_is_two_files_and_knows_no_path_of_this_machine(trained: Trained) -> None:
    folder = trained.bench.store.path(trained.checkpoint.adapter)
    names = {file.name for file in folder.iterdir()} - {"MANIFEST.json"}
    assert names == {"adapter_model.safetensors", "adapter_config.json"}
    text = (folder / "adapter_config.json").read_text()
    config = json.loads(text)
    assert config["base_model_name_or_path"] == ""
    assert config["r"] == TRAINING["rank"]
    for path in (str(trained.bench.settings.home), str(trained.bench.model), str(Path.home())):
        assert path not in text


def test_the_loss_curve_is_complete_and_falls(trained: Trained) -> None:
    curve = json.loads((trained.bench.store.path(trained.checkpoint.curve) / "curve.json").read_text())
    assert [step for step, _ in curve["train"]] == list(range(1, STEPS + 1))
    assert [step for step, _ in curve["validation"]] == [0, 5, 10, STEPS]
    assert all(math.isfinite(loss) for name in curve for _, loss in curve[name])
    checkpoint = trained.checkpoint
    assert checkpoint.first_validation_loss == curve["validation"][0][1]
    assert checkpoint.final_validation_loss == curve["validation"][-1][1]
    assert checkpoint.final_train_loss == curve["train"][-1][1]
    assert checkpoint.final_validation_loss < 0.9 * checkpoint.first_validation_loss


def test_a_checkpoint_names_everything_it_was_made_of(trained: Trained) -> None:
    checkpoint = trained.checkpoint
    assert checkpoint.dataset == trained.bench.dataset.digest
    assert checkpoint.base_model == trained.base_model.digest
    assert checkpoint.prompt == trained.prompt.digest
    assert checkpoint.training == trained.bench.line().training.model_dump(mode="json")
    assert checkpoint.steps == STEPS


def test_its_gates_pass_and_a_loss_that_rose_or_a_third_file_does_not(trained: Trained) -> None:
    assert {e.check_name: e.passed for e in trained.result.get_asset_check_evaluations()} == {
        "training_converged": True,
        "checkpoint_is_safe": True,
    }
    converged, safe = checkpoint_gates(trained.bench.line())
    checkpoint = trained.checkpoint
    rose = checkpoint.model_copy(update={"final_validation_loss": checkpoint.first_validation_loss + 0.01})
    lost = checkpoint.model_copy(update={"final_validation_loss": math.nan})
    stayed = checkpoint.model_copy(update={"final_validation_loss": checkpoint.first_validation_loss})
    fat = checkpoint.model_copy(update={"adapter": checkpoint.adapter.model_copy(update={"files": 3})})
    assert converged.judge(rose).outcome == "FAIL"
    assert converged.judge(lost).outcome == "ERROR"
    assert converged.judge(stayed).outcome == "FAIL"
    for unknown in (math.nan, math.inf):
        assert converged.judge(checkpoint.model_copy(update={"first_validation_loss": unknown})).outcome == "ERROR"
    assert safe.judge(fat).outcome == "FAIL"


def test_its_mlflow_run_is_finished_and_can_be_reproduced_from(trained: Trained) -> None:
    client = trained.bench.tracking.client
    run_id = trained.checkpoint.mlflow_run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == str(TRAINING["learning_rate"])
    assert run.data.params["train_rows"] == "60"
    assert {"data_commit": "c0ffee", "dataset": trained.bench.dataset.digest}.items() <= run.data.tags.items()
    assert {"base_model", "prompt", "code_version", "line", "dagster_run_id"} <= run.data.tags.keys()
    for name, steps in {"train_loss": list(range(1, STEPS + 1)), "validation_loss": [0, 5, 10, STEPS]}.items():
        assert [metric.step for metric in client.get_metric_history(run_id, name)] == steps
    files = {file.path for file in client.list_artifacts(run_id, "curve")}
    assert files == {"curve/curve.json", "curve/curve.png"}


class BlindCompute(Compute):
    """Its children don't reach the tracker that the asset reaches."""

    def run(self, context: dg.AssetExecutionContext, module: str, request: Json, title: str) -> Json:
        return super().run(context, module, {**request, "tracking_uri": NO_TRACKER}, title)


def test_a_child_without_a_tracker_trains_on_and_its_curve_arrives_afterwards(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained.bench, "compute", BlindCompute())
    result = trained.bench.run(seed=11)
    assert result.success, failures(result)
    run_id = str(materialized(result)["checkpoint"]["mlflow_run_id"])
    history = trained.bench.tracking.client.get_metric_history(run_id, "train_loss")
    assert [metric.step for metric in history] == list(range(1, STEPS + 1))
    assert trained.bench.tracking.client.get_run(run_id).info.status == "FINISHED"


def test_a_tracker_lost_after_training_is_a_warning(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curve = trained.bench.store.path(trained.checkpoint.curve)
    with caplog.at_level(logging.WARNING):
        log_curve(Tracking(NO_TRACKER, tmp_path), "a-run", curve, tracked=False, log=logging.getLogger("asset"))
    assert "MLflow run a-run lacks its curve" in caplog.text


def test_a_second_run_trains_nothing_and_opens_no_mlflow_run(trained: Trained) -> None:
    before = [run.info.run_id for run in trained.bench.mlflow_runs()]
    again = materialized(trained.bench.run())
    assert {name: again[name]["reused"] for name in ("base_model", "prompt", "checkpoint")} == {
        "base_model": True,
        "prompt": True,
        "checkpoint": True,
    }
    assert again["checkpoint"]["record"] == trained.checkpoint.digest
    assert [run.info.run_id for run in trained.bench.mlflow_runs()] == before


def test_the_same_seed_gives_the_same_adapter_in_another_place(trained: Trained, tmp_path: Path) -> None:
    elsewhere = SmallTraining(tmp_path, trained.bench.model)
    elsewhere.settings = replace(elsewhere.settings, tracking_uri=trained.bench.settings.tracking_uri)
    assert materialized(elsewhere.run())["checkpoint"]["adapter"] == trained.checkpoint.adapter.digest


def test_another_seed_gives_another_adapter_and_no_tracker_is_needed(trained: Trained, tmp_path: Path) -> None:
    from llm_assets.training.train import train

    made = train(request_for(trained, tmp_path, seed=1).content(), SimpleNamespace(log=logging.getLogger("child")))
    assert made["tracked"] is False
    adapter = trained.bench.store.put_tree(tmp_path / "adapter")
    assert adapter.files == trained.checkpoint.adapter.files
    assert adapter.digest != trained.checkpoint.adapter.digest


def test_target_modules_that_the_model_does_not_have_are_named(trained: Trained, tmp_path: Path) -> None:
    from llm_assets.training.train import train

    request = request_for(trained, tmp_path, target_modules=["no_such_layer"])
    with pytest.raises(ModelError, match=r"training.target_modules \['no_such_layer'\] don't fit the base model"):
        train(request.content(), SimpleNamespace(log=logging.getLogger("child")))


def request_for(trained: Trained, folder: Path, **training: object) -> TrainingRequest:
    """What the asset hands to the child, but with other settings and without MLflow."""
    store = trained.bench.store
    return TrainingRequest(
        base=str(store.path(trained.base_model.files)),
        dataset=str(store.path(trained.bench.dataset.files)),
        system="",
        training=trained.bench.line(**training).training,
        folder=str(folder),
        tracking_uri="",
        mlflow_run_id="",
    )


def test_a_training_that_diverges_publishes_nothing_and_closes_its_mlflow_run_as_failed(trained: Trained) -> None:
    trees = set((Path(trained.bench.store.url) / "trees").iterdir())
    diverged = trained.bench.run(learning_rate=1e30)
    assert not diverged.success
    assert "lower training.learning_rate" in failures(diverged)
    assert "checkpoint" not in materialized(diverged)
    assert set((Path(trained.bench.store.url) / "trees").iterdir()) == trees
    assert trained.bench.mlflow_runs()[0].info.status == "FAILED"
    assert list(trained.bench.settings.home.glob("work-*")) == []


def test_a_training_that_is_killed_publishes_nothing_and_closes_its_mlflow_run_as_failed(trained: Trained) -> None:
    killer = threading.Thread(target=kill_training, daemon=True)
    killer.start()
    killed = trained.bench.run(seed=7)
    killer.join()
    assert not killed.success
    assert "training was killed by SIGKILL" in failures(killed)
    assert "checkpoint" not in materialized(killed)
    assert trained.bench.mlflow_runs()[0].info.status == "FAILED"
    assert list(trained.bench.settings.home.glob("work-*")) == []


def kill_training() -> None:
    """Kill this process's training child as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process().children():
            if "llm_assets.training.train" in child.cmdline():
                child.kill()
                return
        time.sleep(0.02)


def test_every_epoch_shows_every_example_once_in_an_order_of_its_own() -> None:
    seen = [example for batch in islice(batches(range(10), 4, seed=3), 5) for example in batch]
    first, second = seen[:10], seen[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_batches_are_a_function_of_the_seed() -> None:
    drawn = [list(islice(batches(range(50), 8, seed), 12)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(batch) == 8 for batch in drawn[0])


def test_a_batch_may_be_larger_than_the_data() -> None:
    batch = next(batches("abc", 7, seed=0))
    assert len(batch) == 7
    assert set(batch) == set("abc")


def test_the_learning_rate_rises_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [learning_rate(step, 20, 4, 1.0) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert max(rates) == rates[3] == rates[4] == 1.0
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(1 / 16)
    assert all(0 < learning_rate(step, 3, 10, 1.0) <= 1 for step in range(3))
    assert learning_rate(0, 1, 0, 1.0) == 1.0

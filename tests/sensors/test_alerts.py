"""Each failed gate and each failed run is told of once, whoever ran it."""

import json
import time
from pathlib import Path

import dagster as dg
import pytest

from resources.notifier import Notifier
from sensors.alerts import alerts
from sensors.ended_runs import CHUNK, DAY
from tests.data.small_registry import line_on
from tests.sensors.runs import Runs


class Watch:
    """The alerts sensor of a line and its file."""

    def __init__(self, tmp_path: Path, runs: Runs, ahead: float = 0) -> None:
        self.path, self.runs, self.ahead = tmp_path / "alerts.jsonl", runs, ahead
        self.cursor: str | None = None
        self.refuse = False

    def tick(self) -> list[str]:
        """Titles of all alerts so far."""
        notifier = Notifier(self.path, ["json://x"], lambda *_: not self.refuse)
        context = dg.build_sensor_context(
            instance=self.runs.instance, cursor=self.cursor, resources={"notifier": notifier}
        )
        self.said = alerts(line_on("none"), now=lambda: time.time() + self.ahead)(context)
        self.cursor = context.cursor
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line)["title"] for line in text.splitlines()]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.fixture
def watch(tmp_path: Path, runs: Runs) -> Watch:
    return Watch(tmp_path, runs)


def test_runs_that_succeed_are_no_alert(runs: Runs, watch: Watch) -> None:
    runs.run("continuous_training")
    assert watch.tick() == []


def test_a_failed_gate_and_its_run_are_told_of_once_also_after_a_restart_without_a_cursor(
    runs: Runs, watch: Watch
) -> None:
    runs.gate_passes = False
    runs.run("continuous_training")
    expected = ["small: gate volume did not pass", "small: job small_continuous_training failed"]
    assert sorted(watch.tick()) == expected
    assert sorted(watch.tick()) == expected
    watch.cursor = None
    assert sorted(watch.tick()) == expected
    text = watch.path.read_text()
    stopped = next(alert for alert in map(json.loads, text.splitlines()) if "job" in alert["title"])
    assert stopped["text"].startswith("Gate volume: FAIL: 3 rows, required >= 20.\nRun ")
    assert "DagsterAssetCheckFailedError" not in text
    assert runs.instance.get_run_records(limit=1)[0].dagster_run.run_id in text


def test_a_failure_says_what_the_step_said(runs: Runs, watch: Watch) -> None:
    runs.breaks = True
    runs.run("continuous_training")
    assert watch.tick() == ["small: job small_continuous_training failed"]
    assert "the data is broken; publish it again." in watch.path.read_text()


def test_a_run_by_the_button_is_seen_and_one_of_another_line_is_not(tmp_path: Path, runs: Runs, watch: Watch) -> None:
    other = Runs(tmp_path, "smaller")
    other.instance = runs.instance
    other.breaks = True
    other.run("continuous_training")
    assert watch.tick() == []
    key = dg.AssetKey(["small", "dataset"])
    job = runs.definitions().resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    run = runs.instance.create_run_for_job(job, asset_selection=frozenset({key}))
    runs.instance.report_run_failed(run)
    assert watch.tick() == ["small: a run of small/dataset failed"]


def test_a_failed_check_that_does_not_block_is_told_of_and_a_warning_is_not(runs: Runs, watch: Watch) -> None:
    runs.look("INCONCLUSIVE", "r1")
    assert watch.tick() == []
    runs.look("FAIL", "r2")
    assert watch.tick() == ["small: gate drift did not pass"]


def test_what_could_not_be_delivered_is_delivered_by_a_later_tick(runs: Runs, watch: Watch) -> None:
    runs.breaks = watch.refuse = True
    runs.run("continuous_training")
    watch.tick()
    assert "did not take an alert" in str(watch.said.skip_message)
    watch.refuse = False
    watch.tick()
    assert str(watch.said.skip_message) == "0 new alerts."


def test_the_first_look_goes_back_one_day_only(tmp_path: Path, runs: Runs) -> None:
    runs.breaks = True
    runs.run("continuous_training")
    assert Watch(tmp_path, runs, ahead=DAY + 60).tick() == []


def test_more_failures_than_one_tick_reads_are_all_told_of(runs: Runs, watch: Watch) -> None:
    job = runs.definitions().resolve_job_def("small_continuous_training")
    for number in range(CHUNK + 3):
        run = runs.instance.create_run_for_job(job, tags={"line": "small"})
        runs.instance.report_run_failed(run, f"failure {number}")
    assert len(watch.tick()) == CHUNK
    assert len(watch.tick()) == CHUNK + 3
    assert f"failure {CHUNK + 2}" in watch.path.read_text()

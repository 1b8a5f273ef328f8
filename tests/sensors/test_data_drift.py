"""A drift report that failed asks for one training; never in the cool-down, never while one is under way."""

import json
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from llm_assets.line import MonitoringSpec
from sensors.data_drift import data_drift
from tests.data.small_registry import line_on
from tests.sensors.runs import Runs


class Drift:
    """The sensor of a line; a request it makes becomes a run, as the daemon would launch it."""

    def __init__(self, runs: Runs, cool_down_hours: float = 24) -> None:
        monitoring = MonitoringSpec(cool_down_hours=cool_down_hours)
        self.line = line_on("none").model_copy(update={"monitoring": monitoring})
        self.runs = runs
        self.cursor: str | None = None
        self.ahead = 0.0
        self.said: Any = None
        self.launched: list[str] = []

    def tick(self, launch: bool = True) -> int:
        """Runs that were requested."""
        context = dg.build_sensor_context(instance=self.runs.instance, cursor=self.cursor)
        result = data_drift(self.line, now=lambda: time.time() + self.ahead)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.said = result.skip_reason
        requests = result.run_requests or []
        for request in requests if launch else []:
            assert request.run_key is not None
            if request.run_key not in self.launched:
                self.launched.append(request.run_key)
                self.runs.run("continuous_training", **request.tags)
        return len(requests)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    made = Runs(tmp_path)
    made.run("continuous_training")
    return made


@pytest.fixture
def drift(runs: Runs) -> Drift:
    return Drift(runs)


@pytest.mark.parametrize("outcome", ["PASS", "INCONCLUSIVE", "ERROR"])
def test_only_drift_that_was_found_starts_a_training(runs: Runs, drift: Drift, outcome: str) -> None:
    runs.look(outcome, "r1")
    assert drift.tick() == 0


def test_one_report_starts_one_training_however_often_it_is_checked(runs: Runs) -> None:
    drift = Drift(runs, cool_down_hours=0)
    for _ in range(2):
        runs.look("FAIL", "r1")
        drift.tick()
    runs.look("FAIL", "r1")
    drift.cursor = None  # the daemon lost its memory
    drift.tick()
    assert len(drift.launched) == 1
    runs.look("FAIL", "r2")
    assert drift.tick() == 1
    assert len(drift.launched) == 2


def test_drift_in_the_cool_down_waits_and_is_answered_by_one_training(runs: Runs, drift: Drift) -> None:
    runs.look("FAIL", "r1", hour="2026-01-31-14:00")
    assert drift.tick() == 1
    runs.look("FAIL", "r2", hour="2026-01-31-15:00")
    runs.look("FAIL", "r3", hour="2026-01-31-16:00")
    assert drift.tick() == 0
    assert "of 24 hours of cool-down" in str(drift.said)
    drift.ahead = 24.1 * 3600
    assert drift.tick() == 1
    assert "r3" in drift.launched[-1]
    drift.ahead = 49 * 3600
    assert drift.tick() == 0


@pytest.mark.parametrize("job", ["continuous_training", "ship"])
def test_drift_waits_for_a_training_that_is_under_way(runs: Runs, drift: Drift, job: str) -> None:
    running = runs.instance.add_run(dg.DagsterRun(job_name=f"small_{job}", status=dg.DagsterRunStatus.STARTED))
    runs.look("FAIL", "r1")
    assert drift.tick() == 0
    assert f"waits for a run of small_{job}" in str(drift.said)
    runs.instance.delete_run(running.run_id)
    assert drift.tick() == 1


def test_drift_from_training_data_that_was_replaced_is_dropped(runs: Runs, drift: Drift) -> None:
    runs.look("FAIL", "r1", dataset="d1")
    runs.dataset = "d2"
    runs.run("continuous_training")
    assert drift.tick() == 0
    assert json.loads(drift.cursor or "{}")["waiting"] == []
    runs.look("FAIL", "r2", dataset="d2")
    assert drift.tick() == 1


def test_a_tick_that_is_repeated_after_a_crash_asks_for_the_same_run(runs: Runs, drift: Drift) -> None:
    runs.look("FAIL", "r1")
    before = drift.cursor
    assert drift.tick(launch=False) == 1
    drift.cursor = before
    assert drift.tick() == 1
    drift.cursor = before
    drift.ahead = 25 * 3600
    drift.tick()
    assert len(drift.launched) == 1

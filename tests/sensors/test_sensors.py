"""The sensors of a line as the daemon sees them."""

from pathlib import Path

import dagster as dg

from llm_assets.jobs import jobs_for
from sensors import sensors_for
from tests.data.small_registry import line_on

ROOT = Path(__file__).resolve().parents[2]


def test_every_sensor_of_a_line_runs_by_default_under_the_lines_name() -> None:
    sensors = sensors_for(line_on("none"))
    assert sorted(sensor.name for sensor in sensors) == [
        f"small_{name}" for name in ("alerts", "automation", "data_drift", "dvc_commits", "monitoring")
    ]
    assert all(sensor.default_status == dg.DefaultSensorStatus.RUNNING for sensor in sensors)
    assert all((sensor.minimum_interval_seconds or 0) >= 30 for sensor in sensors)


def test_sensors_name_jobs_that_the_line_has() -> None:
    line = line_on("none")
    jobs = {job.name for job in jobs_for(line)}
    named = {
        target.job_name
        for sensor in sensors_for(line)
        if not isinstance(sensor, dg.AutomationConditionSensorDefinition)
        for target in sensor.targets
    }
    assert named == {"small_continuous_training", "small_monitoring"}
    assert named <= jobs

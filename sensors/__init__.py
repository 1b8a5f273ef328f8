"""WHEN something runs. A sensor looks, decides and requests; it never computes. One sensor per module and line."""

import dagster as dg

from llm_assets.line import Line
from sensors.alerts import alerts
from sensors.automation import automation
from sensors.data_drift import data_drift
from sensors.dvc_commits import dvc_commits
from sensors.monitoring import monitoring


def sensors_for(line: Line) -> list[dg.SensorDefinition]:
    """All sensors of a line, running by default. They name its jobs, which must be in the same definitions."""
    return [dvc_commits(line), automation(line), monitoring(line), data_drift(line), alerts(line)]

"""Requests that no longer look like the training data ask for a new training."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import dagster as dg

from llm_assets.line import Line
from llm_assets.materialize import latest_digest
from llm_assets.monitoring.checks import DRIFT
from sensors.ended_runs import DAY, Cursor, ended_runs, failed_checks

CAUSE = {"llm/cause": "drift"}
REMEMBERED = 100
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Cause:
    """A drift report that failed."""

    report: str
    dataset: str
    hour: str


def data_drift(line: Line, now: Callable[[], float] = time.time) -> dg.SensorDefinition:
    """One retraining per drift report that failed, however often its check is evaluated.

    A cause waits for a training that is under way and for the cool-down; one run answers all that wait. A cause is
    dropped if the training data has changed since: it says nothing about the new data. On its very first look the
    sensor goes back one day.
    """
    job, hours = f"{line.name}_continuous_training", line.monitoring.cool_down_hours

    @dg.sensor(
        name=f"{line.name}_data_drift",
        job_name=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"A failed drift check starts a training, at most once in {hours:g} hours.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        state = json.loads(context.cursor) if context.cursor else {}
        runs, cursor = ended_runs(context.instance, Cursor.parse(json.dumps(state.get("log", {})), since=now() - DAY))
        handled: list[str] = state.get("handled", [])
        dataset = latest_digest(context.instance, dg.AssetKey([line.name, "dataset"]))
        causes = [Cause(**cause) for cause in state.get("waiting", [])]
        causes += [cause for ended in runs for cause in _causes(context.instance, ended.run, line.name)]
        causes = [cause for cause in causes if cause.dataset == dataset and cause.report not in handled]
        reason = _why_not(context.instance, line, job, now()) if causes else "No new drift from the training data."
        requests = []
        if not reason:
            requests = [_request(line, max(causes, key=lambda cause: cause.hour))]
            handled, causes = [*handled, *(cause.report for cause in causes)][-REMEMBERED:], []
        left = {"log": cursor.dump(), "waiting": [asdict(cause) for cause in causes], "handled": handled}
        return dg.SensorResult(run_requests=requests, skip_reason=reason or None, cursor=json.dumps(left))

    return sensor


def _causes(instance: dg.DagsterInstance, run: dg.DagsterRun, line: str) -> list[Cause]:
    checks = [check for check in failed_checks(instance, run, line) if check.check_name == DRIFT]
    figures = [{name: value.value for name, value in check.metadata.items()} for check in checks]
    return [
        Cause(str(found["report"]), str(found["dataset"]), str(found["hour"]))
        for found in figures
        if found.get("outcome") == "FAIL"
    ]


def _why_not(instance: dg.DagsterInstance, line: Line, job: str, now: float) -> str:
    """Why nothing is launched now; empty if it may be."""
    for name in (job, f"{line.name}_ship"):
        if instance.get_run_records(dg.RunsFilter(job_name=name, statuses=UNFINISHED), limit=1):
            return f"Drift waits for a run of {name} that is under way."
    for record in instance.get_run_records(dg.RunsFilter(job_name=job, tags=CAUSE), limit=1):
        hours = (now - record.create_timestamp.timestamp()) / 3600
        if hours < line.monitoring.cool_down_hours:
            return f"Drift waits: {hours:.1f} of {line.monitoring.cool_down_hours:g} hours of cool-down have passed."
    return ""


def _request(line: Line, cause: Cause) -> dg.RunRequest:
    tags = {**CAUSE, "llm/hour": cause.hour, "llm/drift_report": cause.report[:12]}
    return dg.RunRequest(run_key=f"{line.name}-drift-{cause.report[:24]}", tags=tags)

"""Tells people of each failed gate and each failed run, once."""

import json
import time
from collections.abc import Callable

import dagster as dg

from llm_assets.line import Line
from resources.notifier import Alert, Notifier
from sensors.ended_runs import DAY, Cursor, EndedRun, belongs_to, ended_runs, failed_checks


def alerts(line: Line, now: Callable[[], float] = time.time) -> dg.SensorDefinition:
    """Failed gates and runs of the line, to the alert file and to every address of LLM_ALERT_URLS.

    A gate is told of when its run has ended. On its very first look it goes back one day.
    """

    @dg.sensor(
        name=f"{line.name}_alerts",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Each failed gate and each failed run, once: to a file and to the addresses in LLM_ALERT_URLS.",
    )
    def sensor(context: dg.SensorEvaluationContext, notifier: dg.ResourceParam[Notifier]) -> dg.SkipReason:
        runs, cursor = ended_runs(context.instance, Cursor.parse(context.cursor, now() - DAY))
        found = [alert for ended in runs for alert in _alerts_of(context.instance, ended, line.name)]
        new = notifier.write(found)
        context.update_cursor(json.dumps(cursor.dump()))  # only what is written down is behind us
        problems = notifier.deliver(line.name)
        for problem in problems:
            context.log.warning(problem)
        return dg.SkipReason(" ".join([f"{len(new)} new alerts.", *problems]))

    return sensor


def _alerts_of(instance: dg.DagsterInstance, ended: EndedRun, line: str) -> list[Alert]:
    run = ended.run
    found = []
    for check in failed_checks(instance, run, line):
        asset = check.asset_key.to_user_string()
        where = f"Asset {asset}{f' of {check.partition}' if check.partition else ''}"
        found.append(
            Alert(
                id=f"gate:{run.run_id}:{asset}:{check.check_name}:{check.partition or ''}",
                line=line,
                title=f"{line}: gate {check.check_name} did not pass",
                text=f"{check.description or 'no reason given'}\n{where}, run {run.run_id} ({run.job_name}).",
            )
        )
    if ended.failed and belongs_to(run, line):
        text = f"{_why(instance, run, line)}\nRun {run.run_id}."
        found.append(Alert(id=f"run:{run.run_id}", line=line, title=f"{line}: {_title(run)} failed", text=text))
    return found


def _title(run: dg.DagsterRun) -> str:
    if not run.job_name.startswith("__"):  # Dagster's own name for a run without a job
        return f"job {run.job_name}"
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    return f"a run of {assets or 'checks'}"


def _why(instance: dg.DagsterInstance, run: dg.DagsterRun, line: str) -> str:
    """The message of the first step that failed, or of the run itself; of a step that a gate stopped, the gate's."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.RUN_FAILURE:
            return event.message or "the run failed."
        failure = event.step_failure_data
        if failure.error and failure.error.cls_name == "DagsterAssetCheckFailedError":
            return " ".join(f"Gate {one.check_name}: {one.description}" for one in failed_checks(instance, run, line))
        described = failure.user_failure_data.description if failure.user_failure_data else None
        message = described or (failure.error.message.strip() if failure.error else "") or event.message
        return f"{event.step_key}: {message}"
    return "the run failed before its first step."

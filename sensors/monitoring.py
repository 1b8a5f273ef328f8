"""Each hour with requests is looked at once, when it is over."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from llm_assets.line import Line
from llm_assets.monitoring.window import records_folder
from resources.settings import Settings

HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=2)
"""The gateway writes behind; a record may reach its file a little after the hour."""
LOOK_BACK = timedelta(hours=24)
"""On the first look; older hours can be backfilled by hand."""
AT_ONCE = 6
"""Runs per tick, so that a backlog does not swamp the machine."""


def monitoring(line: Line, now: Callable[[], datetime] | None = None) -> dg.SensorDefinition:
    """Runs the monitoring job for every completed hour that has request records. An hour without starts nothing, which
    a schedule could not say; so it is a sensor."""
    clock = now or (lambda: datetime.now(UTC))

    @dg.sensor(
        name=f"{line.name}_monitoring",
        job_name=f"{line.name}_monitoring",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="One run of the monitoring job for each completed hour that has requests.",
    )
    def sensor(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SensorResult:
        present = clock()
        after = datetime.fromisoformat(context.cursor) if context.cursor else present - LOOK_BACK - HOUR
        hours = [hour for hour in _hours(records_folder(settings.serving_dir, line.name)) if hour > after]
        due = [hour for hour in hours if hour + HOUR + GRACE <= present][:AT_ONCE]
        requests = [dg.RunRequest(run_key=f"{line.name}-{_key(hour)}", partition_key=_key(hour)) for hour in due]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "No completed hour with requests since the last look.",
            cursor=(due[-1] if due else after).isoformat(),
        )

    return sensor


def _hours(folder: Path) -> Iterator[datetime]:
    """The hours that have a file, oldest first; other files are nobody's."""
    for path in sorted(folder.glob("*.jsonl")):
        try:
            yield datetime.strptime(path.stem, "%Y-%m-%dT%H").replace(tzinfo=UTC)
        except ValueError:
            continue


def _key(hour: datetime) -> str:
    """The hour's partition, as `llm_assets/monitoring/assets.py` names it."""
    return f"{hour:%Y-%m-%d-%H:%M}"

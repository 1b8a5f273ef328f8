"""What ended since a sensor last looked: runs and the asset checks they evaluated.

Read from the event log in bounded chunks, so that runs which no daemon launched (`dagster job execute`) are seen too.
Everything here is Dagster's public API; `Cursor` is what a sensor keeps between ticks.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg

DAY = 24 * 3600.0
"""Seconds that a sensor goes back on its very first look."""
CHUNK = 50
"""Events per kind and tick."""

_KINDS: Mapping[str, dg.DagsterEventType] = {
    kind.value: kind
    for kind in (
        dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterEventType.RUN_CANCELED,
    )
}


@dataclass(frozen=True)
class Cursor:
    """How far the event log was read."""

    since: float
    """Unix time; what ended before the sensor's first look is history."""
    positions: dict[str, str] = field(default_factory=dict)
    """Kind of event -> Dagster's own cursor."""

    @classmethod
    def parse(cls, text: str | None, since: float) -> "Cursor":
        """Read back what `dump` wrote, or start at `since`."""
        value = json.loads(text) if text else {}
        return cls(value.get("since", since), value.get("positions", {}))

    def dump(self) -> dict[str, object]:
        """As a JSON value."""
        return {"since": self.since, "positions": self.positions}


@dataclass(frozen=True)
class EndedRun:
    """A run that ended."""

    run: dg.DagsterRun
    failed: bool


def ended_runs(instance: dg.DagsterInstance, cursor: Cursor) -> tuple[list[EndedRun], Cursor]:
    """The next runs that ended after the cursor, and the cursor behind them."""
    ended: list[EndedRun] = []
    positions = dict(cursor.positions)
    for name, kind in _KINDS.items():
        found = instance.fetch_run_status_changes(kind, limit=CHUNK, cursor=positions.get(name), ascending=True)
        positions[name] = found.cursor
        for record in found.records:
            run = instance.get_run_by_id(record.run_id)
            if run is not None and record.timestamp >= cursor.since:
                ended.append(EndedRun(run, failed=kind == dg.DagsterEventType.RUN_FAILURE))
    return ended, Cursor(cursor.since, positions)


def failed_checks(instance: dg.DagsterInstance, run: dg.DagsterRun, line: str) -> Iterator[dg.AssetCheckEvaluation]:
    """Checks on assets of a line that this run evaluated and that did not pass; mere warnings are left out."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        event = entry.dagster_event
        evaluation = event.asset_check_evaluation_data if event else None
        if evaluation is None or evaluation.passed or evaluation.severity != dg.AssetCheckSeverity.ERROR:
            continue
        if evaluation.asset_key.path[0] == line:
            yield evaluation


def belongs_to(run: dg.DagsterRun, line: str) -> bool:
    """Whether a run is of a line: a job of its, or assets of its by the button, the CLI or a condition."""
    keys = [*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())]
    return run.tags.get("line") == line or any(key.path[0] == line for key in keys)

"""The monitoring sensor: completed hours with requests, each once."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from resources.settings import Settings
from sensors.monitoring import AT_ONCE, monitoring
from tests.data.small_registry import line_on

NOW = datetime(2026, 1, 31, 16, 30, tzinfo=UTC)


class Hours:
    """A folder of request records, and the sensor's cursor."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings.from_env({"LLM_HOME": str(home)})
        self.folder = self.settings.serving_dir / "small" / "records"
        self.cursor: str | None = None
        self.now = NOW

    def add(self, *names: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.folder / f"{name}.jsonl").write_text("{}\n")

    def tick(self) -> list[str | None]:
        context = dg.build_sensor_context(cursor=self.cursor, resources={"settings": self.settings})
        result = monitoring(line_on("none"), now=lambda: self.now)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return [request.partition_key for request in result.run_requests or []]


@pytest.fixture
def hours(tmp_path: Path) -> Hours:
    return Hours(tmp_path)


def test_nothing_happens_where_nobody_ever_asked(hours: Hours) -> None:
    assert hours.tick() == []


def test_a_completed_hour_is_requested_once_and_the_running_one_is_not(hours: Hours) -> None:
    hours.add("2026-01-31T15", "2026-01-31T16")
    assert hours.tick() == ["2026-01-31-15:00"]
    assert hours.tick() == []
    hours.now = datetime(2026, 1, 31, 17, 1, tzinfo=UTC)  # the gateway may still be writing
    assert hours.tick() == []
    hours.now = datetime(2026, 1, 31, 17, 2, tzinfo=UTC)
    assert hours.tick() == ["2026-01-31-16:00"]


def test_a_backlog_is_worked_off_in_order_and_bounded(hours: Hours) -> None:
    hours.add(*(f"2026-01-31T{hour:02d}" for hour in range(16)), "2025-06-01T00")
    seen = [hours.tick() for _ in range(4)]
    assert [len(keys) for keys in seen] == [AT_ONCE, AT_ONCE, 4, 0]
    assert seen[0][0] == "2026-01-31-00:00"


def test_files_that_are_no_hours_are_left_alone(hours: Hours) -> None:
    hours.add("notes", "2026-01-31T99", "2026-01-31T14")
    assert hours.tick() == ["2026-01-31-14:00"]


def test_partition_keys_are_those_of_the_assets(hours: Hours) -> None:
    from llm_assets.monitoring.assets import HOURS

    hours.add("2026-01-31T14")
    [key] = hours.tick()
    assert key is not None
    assert HOURS.has_partition_key(key)

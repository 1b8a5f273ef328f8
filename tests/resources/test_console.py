"""What a user reads on the terminal while a job runs and when it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resources.settings import ROOT

JOBS = """
import dagster as dg
from resources.console import console_logger

@dg.asset(key=["small", "source"])
def source() -> None:
    raise dg.Failure("the data is broken; publish it again.")

@dg.multi_asset(name="small__dataset", specs=[dg.AssetSpec(["small", name]) for name in ("dataset", "quarantine")])
def dataset():
    for name in ("quarantine", "dataset"):
        yield dg.MaterializeResult(asset_key=["small", name])

@dg.asset_check(asset=["small", "dataset"], blocking=True)
def volume() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="FAIL: 3 rows, required >= 20.")

def job(name, *assets):
    keys = [dg.AssetKey(["small", asset]) for asset in assets]
    config = {"loggers": {"console": {"config": {}}}}
    return dg.define_asset_job(name, dg.AssetSelection.assets(*keys), config=config)

defs = dg.Definitions(
    assets=[source, dataset],
    asset_checks=[volume],
    jobs=[job("broken", "source"), job("refused", "dataset", "quarantine")],
    executor=dg.in_process_executor,
    loggers={"console": console_logger},
)
"""


class Terminal:
    """The `dagster` command on two small jobs, where the mirror of captured output shows nothing at all.

    Dagster's mirror is a `tail` that it ends as soon as the steps are over, whether or not it has read everything.
    """

    def __init__(self, folder: Path) -> None:
        self.jobs = folder / "jobs.py"
        self.jobs.write_text(JOBS)
        tail = folder / "bin" / "tail"
        tail.parent.mkdir()
        tail.write_text("#!/bin/sh\nexec sleep 600\n")
        tail.chmod(0o755)
        (folder / "home").mkdir()
        (folder / "home" / "dagster.yaml").write_text((ROOT / "deploy" / "dagster.yaml").read_text())
        self.environ = {
            **os.environ,
            "PATH": f"{tail.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "DAGSTER_HOME": str(folder / "home"),
        }

    def lines(self, job: str) -> list[str]:
        """What is said of a failing job, without the time of day, up to Dagster's own last line."""
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-f", str(self.jobs), "-j", job]
        done = subprocess.run(
            command, cwd=self.jobs.parent, env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )
        *said, last = done.stderr.splitlines()
        assert "resulted in failure" in last, done.stderr
        return [line.partition(" ")[2] for line in said]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_the_reason_of_a_failure_is_said_even_if_the_mirror_of_captured_output_loses_it(terminal: Terminal) -> None:
    assert terminal.lines("broken") == ["small/source: FAILED. the data is broken; publish it again."]


def test_each_asset_goes_by_its_own_name_and_a_gate_that_stops_a_run_is_told_of_once(terminal: Terminal) -> None:
    assert terminal.lines("refused") == [
        "small/quarantine: made",
        "small/dataset: made",
        "small/dataset: gate volume: FAIL: 3 rows, required >= 20.",
    ]

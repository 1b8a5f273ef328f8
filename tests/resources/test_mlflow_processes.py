"""MLflow runs of real processes: one that is cancelled, one that is killed, one of another instance that lives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from resources.settings import ROOT, Settings
from resources.tracking import Tracking, tracking_resource

PATIENCE = 120.0
"""Seconds until a process that should have got somewhere is given up."""
VICTIM = """
import os, time
from pathlib import Path
import dagster as dg
from resources.settings import Settings
from resources.tracking import Tracking, tracking_resource

@dg.asset
def trained(tracking: dg.ResourceParam[Tracking]) -> None:
    Path(os.environ["STARTED"]).write_text(tracking.open_run(os.environ["EXPERIMENT"]))
    time.sleep(600)

defs = dg.Definitions(
    assets=[trained],
    jobs=[dg.define_asset_job("victim")],
    resources={"tracking": tracking_resource(Settings.from_env())},
    executor=dg.in_process_executor,
)
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"LLM_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture
def victims(settings: Settings, tmp_path: Path) -> Iterator[Callable[[str], "Victim"]]:
    started: list[Victim] = []

    def start(experiment: str) -> Victim:
        started.append(Victim(settings, tmp_path / experiment, experiment))
        return started[-1]

    yield start
    for victim in started:
        if victim.process.poll() is None:
            victim.end(signal.SIGINT)


@pytest.fixture
def tracking(settings: Settings) -> Tracking:
    return Tracking(settings.tracking_uri, settings.home / "mlartifacts")


def train(settings: Settings, experiment: str, instance: dg.DagsterInstance | None = None) -> str:
    """One run of this process that opens an MLflow run; returns its id."""
    seen: list[str] = []

    @dg.asset
    def trained(tracking: dg.ResourceParam[Tracking]) -> None:
        seen.append(tracking.open_run(experiment))

    resources = {"tracking": tracking_resource(settings)}
    assert dg.materialize([trained], resources=resources, instance=instance).success
    return seen[0]


def status_of(tracking: Tracking, run_id: str) -> str:
    return str(tracking.client.get_run(run_id).info.status)


class Victim:
    """A real `dagster job execute` whose asset waits inside an open MLflow run."""

    def __init__(self, settings: Settings, folder: Path, experiment: str) -> None:
        self.home = folder / "dagster"
        self.home.mkdir(parents=True)
        (folder / "victim.py").write_text(VICTIM)
        started = folder / "started"
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-f", "victim.py", "-j", "victim"],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "LLM_HOME": str(settings.home),
                "DAGSTER_HOME": str(self.home),
                "EXPERIMENT": experiment,
                "STARTED": str(started),
            },
            stdout=(folder / "output").open("wb"),
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + PATIENCE
        while not (started.exists() and started.read_text()):
            ended = self.process.poll() is not None or time.monotonic() > deadline
            if ended:
                self.process.kill()
            assert not ended, (folder / "output").read_text()
            time.sleep(0.05)
        self.run_id = started.read_text()

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE)


def test_a_cancelled_run_is_killed(tracking: Tracking, victims: Callable[[str], Victim]) -> None:
    victim = victims("cancelled")
    assert status_of(tracking, victim.run_id) == "RUNNING"
    victim.end(signal.SIGINT)
    assert status_of(tracking, victim.run_id) == "KILLED"


def test_the_next_training_closes_what_a_killed_process_left_running(
    settings: Settings, tracking: Tracking, victims: Callable[[str], Victim]
) -> None:
    victim = victims("killed")
    victim.end(signal.SIGKILL)
    assert status_of(tracking, victim.run_id) == "RUNNING"
    with dg.DagsterInstance.from_config(str(victim.home)) as instance:  # for which the run still goes on
        run_id = train(settings, "killed", instance)
    assert status_of(tracking, victim.run_id) == "FAILED"
    assert status_of(tracking, run_id) == "FINISHED"


def test_a_training_of_another_instance_that_is_alive_is_left_alone(
    settings: Settings, tracking: Tracking, victims: Callable[[str], Victim]
) -> None:
    victim = victims("alive")
    train(settings, "alive")
    assert status_of(tracking, victim.run_id) == "RUNNING"


def test_more_parameters_and_metrics_than_one_request_takes_arrive(settings: Settings, tracking: Tracking) -> None:
    run_id = train(settings, "many")
    tracking.log_params(run_id, {f"p{n}": n for n in range(230)})
    tracking.log_metrics(run_id, [("loss", 1.0 / (n + 1), n) for n in range(1100)])
    run = tracking.client.get_run(run_id)
    assert len(run.data.params) == 230
    assert len(tracking.client.get_metric_history(run_id, "loss")) == 1100

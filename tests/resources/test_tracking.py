"""What MLflow holds of a run afterwards: always closed, with the status that the Dagster run deserves."""

import socket
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from resources.errors import TrackingError
from resources.settings import Settings
from resources.tracking import Tracking, tracking_resource

LINE = "small"


class Bench:
    """One asset that opens an MLflow run and does `work`, and a blocking check on it that says `passes`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.instance = dg.DagsterInstance.ephemeral()
        self.work: Callable[[Tracking, str], None] = lambda tracking, run_id: None
        self.passes = True
        self.severity = dg.AssetCheckSeverity.ERROR
        self.opened: list[str] = []

    @property
    def tracking(self) -> Tracking:
        """A view of MLflow from outside of any run."""
        return Tracking(self.settings.tracking_uri, self.settings.home / "mlartifacts")

    def definitions(self) -> dg.Definitions:
        @dg.asset(key=[LINE, "trained"])
        def trained(tracking: dg.ResourceParam[Tracking]) -> None:
            self.opened.append(tracking.open_run(LINE))
            self.work(tracking, self.opened[-1])

        @dg.asset(key=[LINE, "idle"])
        def idle(tracking: dg.ResourceParam[Tracking]) -> None:
            """Holds the resource and never needs it."""

        @dg.asset_check(asset=trained, blocking=True)
        def good() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.passes, severity=self.severity)

        resources = {"tracking": tracking_resource(self.settings)}
        return dg.Definitions([trained, idle], asset_checks=[good], resources=resources)

    def run(self, asset: str = "trained") -> dg.ExecuteInProcessResult:
        job = self.definitions().resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey([LINE, asset])]
        return job.execute_in_process(instance=self.instance, asset_selection=selection, raise_on_error=False)

    def status_of(self, run_id: str) -> str:
        return str(self.tracking.client.get_run(run_id).info.status)

    def statuses(self) -> list[str]:
        """Of every run that was opened, in order."""
        return [self.status_of(run_id) for run_id in self.opened]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One database for the whole module: making one takes MLflow seconds."""
    return Settings.from_env({"LLM_HOME": str(tmp_path_factory.mktemp("tracking"))})


@pytest.fixture
def bench(settings: Settings) -> Bench:
    return Bench(settings)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text("{}")
    return folder


def start_abandoned(bench: Bench, dagster_run_id: str) -> str:
    """An MLflow run as a killed process leaves it."""
    experiment = bench.tracking._ensure_experiment(LINE)
    tags = {"dagster_run_id": dagster_run_id}
    return str(bench.tracking.client.create_run(experiment, tags=tags).info.run_id)


def test_a_successful_run_without_a_job_of_its_own_closes_its_mlflow_run_as_finished(bench: Bench) -> None:
    assert bench.run().success
    assert bench.statuses() == ["FINISHED"]


def test_the_mlflow_run_carries_params_metrics_tags_and_the_dagster_run(bench: Bench) -> None:
    def work(tracking: Tracking, run_id: str) -> None:
        tracking.log_params(run_id, {f"setting_{number}": number for number in range(250)})
        tracking.log_metrics(run_id, [("loss", 1 / (step + 1), step) for step in range(250)])
        tracking.set_tags(run_id, {"data_commit": "abc"})

    bench.work = work
    done = bench.run()
    found = bench.tracking.client.get_run(bench.opened[0])
    assert len(found.data.params) == 250
    assert len(bench.tracking.client.get_metric_history(bench.opened[0], "loss")) == 250
    assert found.data.tags["data_commit"] == "abc"
    assert found.data.tags["dagster_run_id"] == done.run_id


def test_a_run_that_opens_twice_has_one_mlflow_run(bench: Bench) -> None:
    again: list[str] = []
    bench.work = lambda tracking, run_id: again.append(tracking.open_run(LINE))
    assert bench.run().success
    assert again == bench.opened


def test_a_run_that_needs_no_mlflow_opens_none(bench: Bench) -> None:
    experiment = bench.tracking._ensure_experiment(LINE)
    before = len(bench.tracking.client.search_runs([experiment]))
    assert bench.run("idle").success
    assert len(bench.tracking.client.search_runs([experiment])) == before


def test_a_failed_blocking_check_closes_it_as_failed(bench: Bench) -> None:
    bench.passes = False
    bench.run()
    assert bench.statuses() == ["FAILED"]


def test_a_check_that_only_warns_closes_it_as_finished_as_dagster_does(bench: Bench) -> None:
    bench.passes, bench.severity = False, dg.AssetCheckSeverity.WARN
    assert bench.run().success
    assert bench.statuses() == ["FINISHED"]


def test_an_error_in_the_asset_closes_it_as_failed(bench: Bench) -> None:
    def work(tracking: Tracking, run_id: str) -> None:
        raise dg.Failure("the disk is full", allow_retries=False)

    bench.work = work
    assert not bench.run().success
    assert bench.statuses() == ["FAILED"]


def test_the_next_run_in_the_same_process_gets_an_mlflow_run_of_its_own(bench: Bench) -> None:
    bench.run()
    bench.run()
    assert bench.opened[0] != bench.opened[1]
    assert bench.statuses() == ["FINISHED", "FINISHED"]


def test_what_a_killed_process_left_running_is_closed_at_the_next_opening(bench: Bench) -> None:
    ended = bench.run("idle").run_id
    abandoned = [start_abandoned(bench, ended), start_abandoned(bench, "a-run-that-nobody-knows")]
    bench.run()
    assert [bench.status_of(run_id) for run_id in abandoned] == ["FAILED", "FAILED"]


def test_an_mlflow_run_whose_dagster_run_goes_on_is_left_alone(bench: Bench) -> None:
    job = bench.definitions().resolve_implicit_global_asset_job_def()
    going_on = bench.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    other = start_abandoned(bench, going_on.run_id)
    bench.run()
    assert bench.status_of(other) == "RUNNING"


def test_a_registered_model_is_found_by_its_alias_with_its_tags_and_files(bench: Bench, adapter: Path) -> None:
    bench.run()
    tracking = bench.tracking
    first = tracking.register("model", adapter, bench.opened[0], {"adapter": "d1"})
    second = tracking.register("model", adapter, bench.opened[0], {"adapter": "d2"})
    assert (first, second) == (1, 2)
    tracking.set_alias("model", "staging", second)
    assert tracking.version_of("model", "staging") == second
    assert tracking.tags_of("model", second) == {"adapter": "d2"}
    names = {file.path for file in tracking.client.list_artifacts(bench.opened[0], "adapter")}
    assert names == {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"}


def test_registering_the_same_again_after_a_crash_gives_the_version_that_is_there(bench: Bench, adapter: Path) -> None:
    bench.run()
    first = bench.tracking.register("again", adapter, bench.opened[0], {"verdict": "v1"})
    assert bench.tracking.register("again", adapter, bench.opened[0], {"verdict": "v1"}) == first
    assert bench.tracking.register("again", adapter, bench.opened[0], {"verdict": "v2"}) == first + 1


def test_an_upload_that_was_cut_off_is_completed(bench: Bench, adapter: Path) -> None:
    bench.run()
    bench.tracking.client.log_artifact(bench.opened[0], str(adapter / "adapter_config.json"), "adapter")
    bench.tracking.register("cut_off", adapter, bench.opened[0], {})
    names = {Path(file.path).name for file in bench.tracking.client.list_artifacts(bench.opened[0], "adapter")}
    assert names == {"adapter_model.safetensors", "adapter_config.json"}


def test_an_alias_or_a_model_that_does_not_exist_has_no_version(bench: Bench, adapter: Path) -> None:
    assert bench.tracking.version_of("nobody", "staging") is None
    bench.run()
    bench.tracking.register("unaliased", adapter, bench.opened[0], {})
    assert bench.tracking.version_of("unaliased", "staging") is None


def test_a_model_is_registered_though_the_tracker_lost_the_run_that_trained_it(bench: Bench, adapter: Path) -> None:
    gone = "0123456789abcdef0123456789abcdef"
    version = bench.tracking.register("orphan", adapter, gone, {})
    found = bench.tracking.client.get_model_version("orphan", str(version))
    stand_in = bench.tracking.client.get_run(found.run_id)
    assert stand_in.data.tags["replaces_run"] == gone
    assert stand_in.info.status == "FINISHED"


def test_an_mlflow_run_outside_a_dagster_run_is_refused(bench: Bench) -> None:
    with pytest.raises(TrackingError, match="belongs to a Dagster run"):
        bench.tracking.open_run(LINE)


@pytest.mark.timeout(90)
def test_a_server_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    tracking = Tracking(uri, tmp_path)
    with pytest.raises(TrackingError, match=f"MLflow at {uri} failed: .*; check MLFLOW_TRACKING_URI"):
        tracking.version_of("model", "staging")


def test_a_database_that_can_not_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tracking = Tracking(f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path)
    with pytest.raises(TrackingError, match="check MLFLOW_TRACKING_URI"):
        tracking.version_of("model", "staging")

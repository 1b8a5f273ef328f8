"""Experiment tracking and the model registry: MLflow, through dagster-mlflow.

A Dagster run that trains has one MLflow run. It is opened when training starts and closed when this resource is torn
down, after the last step and check of the run, with the status that the run's own events say: so it holds for a job,
a button, a failed gate and a crash alike. MLflow takes seconds to import and is imported only when it is needed.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psutil

from resources.errors import TrackingError
from resources.settings import TELEMETRY_OFF, Settings

BOUNDED = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""A server that hangs is given up after a minute at most."""
PROCESS = "process"
"""Tag of an MLflow run: machine, pid and start of the process that opened it; a pid alone is used again."""
CLOCK_SLIP = 60.0
"""Seconds by which a process seems to have started at another time after the clock was set."""
CHUNK = 100
"""Parameters of one request; MLflow refuses more."""


class Tracking:
    """One Dagster run's view of MLflow."""

    def __init__(
        self,
        tracking_uri: str,
        artifacts: Path,
        instance: dg.DagsterInstance | None = None,
        run: dg.DagsterRun | None = None,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.artifacts = artifacts
        self.instance = instance
        self.run = run
        self._open: Any = None

    def open_run(self, experiment: str) -> str:
        """The id of this Dagster run's MLflow run, opened at the first call.

        Raises:
            TrackingError: MLflow can't be reached, or this is used outside a Dagster run.
        """
        if self._open is None:
            if self.run is None:
                raise TrackingError("an MLflow run belongs to a Dagster run, and there is none here.")
            with self._clear():
                client = self.client
                self._ensure_experiment(experiment)
                self._close_abandoned(experiment)
                from dagster_mlflow.resources import MlFlow

                self._open = MlFlow(
                    SimpleNamespace(
                        log=logging.getLogger("llm_assets.tracking"),
                        dagster_run=self.run,
                        run_id=self.run.run_id,
                        resource_config={
                            "mlflow_tracking_uri": self.tracking_uri,
                            "experiment_name": experiment,
                            "extra_tags": {
                                PROCESS: f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()}"
                            },
                        },
                    )
                )
                run_id = self._active_run_id()
                client.update_run(run_id, status="RUNNING")
        return self._active_run_id()

    def close(self) -> None:
        """End the MLflow run, if one was opened, with the status of the Dagster run."""
        if self._open is None:
            return
        with self._clear():
            run_id = self._active_run_id()
            status = self._status()
            self._open.end_run(status=status)
            self.client.set_terminated(run_id, status)
        self._open = None

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters of a run, any number of them."""
        with self._clear():
            from mlflow.entities import Param

            items = [Param(key, str(value)) for key, value in params.items()]
            for start in range(0, len(items), CHUNK):
                self.client.log_batch(run_id, params=items[start : start + CHUNK])

    def log_metrics(self, run_id: str, points: Sequence[tuple[str, float, int]]) -> None:
        """Metric values as (name, value, step)."""
        with self._clear():
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            items = [Metric(name, value, now, step) for name, value, step in points]
            for start in range(0, len(items), CHUNK):
                self.client.log_batch(run_id, metrics=items[start : start + CHUNK])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Tags of a run."""
        with self._clear():
            for key, value in tags.items():
                self.client.set_tag(run_id, key, value)

    def log_artifacts(self, run_id: str, folder: Path, path: str) -> None:
        """The files of a folder, as artifacts of a run below `path`."""
        with self._clear():
            self.client.log_artifacts(run_id, str(folder), path)

    def register(self, name: str, folder: Path, run_id: str, tags: Mapping[str, str]) -> int:
        """Register the files of a folder as a new version of a model; returns its number.

        The files become artifacts of the MLflow run that trained them; no model is loaded. A version of the same files
        with the same tags, from a run that was cut off before it could say so, is not registered twice.

        Raises:
            TrackingError: the registry refuses or can't be reached.
        """
        with self._clear():
            from mlflow.exceptions import MlflowException

            run = self._run_or_new(run_id, name)
            present = {Path(file.path).name for file in self.client.list_artifacts(run.info.run_id, "adapter")}
            for file in sorted(folder.iterdir()):
                if file.name not in present:  # an earlier upload may have been cut off
                    self.client.log_artifact(run.info.run_id, str(file), "adapter")
            try:
                self.client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self.client.create_registered_model(name)
            source = f"{run.info.artifact_uri}/adapter"
            known = self.client.search_model_versions(f"name = '{name}'")
            same = [int(each.version) for each in known if each.source == source and dict(each.tags) == dict(tags)]
            if same:
                return max(same)
            version = self.client.create_model_version(name, source, run.info.run_id, tags=dict(tags))
            return int(version.version)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias (`staging`, `production`) to a version."""
        with self._clear():
            self.client.set_registered_model_alias(name, alias, str(version))

    def version_of(self, name: str, alias: str) -> int | None:
        """The version that an alias points to."""
        with self._clear():
            from mlflow.exceptions import MlflowException

            try:
                return int(self.client.get_model_version_by_alias(name, alias).version)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def tags_of(self, name: str, version: int) -> dict[str, str]:
        """Tags of a registered version."""
        with self._clear():
            return dict(self.client.get_model_version(name, str(version)).tags)

    @cached_property
    def client(self) -> Any:
        """MLflow's own client for this server, quiet and bounded in time."""
        for key, value in {**BOUNDED, **TELEMETRY_OFF}.items():
            os.environ.setdefault(key, value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with self._clear():
            if self.tracking_uri.startswith("sqlite:///"):
                Path(self.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            import mlflow

            logging.getLogger("mlflow").setLevel(logging.WARNING)
            for quiet in ("mlflow.store.db.utils", "alembic.runtime.migration"):
                logging.getLogger(quiet).setLevel(logging.WARNING)
            mlflow.set_tracking_uri(self.tracking_uri)
            return mlflow.MlflowClient(self.tracking_uri)

    @contextmanager
    def _clear(self) -> Iterator[None]:
        try:
            yield
        except TrackingError:
            raise
        except Exception as error:
            known = type(error).__module__.startswith(("mlflow", "sqlalchemy", "sqlite3", "requests"))
            if not known and not isinstance(error, OSError):  # a disk that is full, a folder that can't be made
                raise
            reason = " ".join(str(error).split())[:300]
            raise TrackingError(
                f"MLflow at {self.tracking_uri} failed: {reason}; check MLFLOW_TRACKING_URI and that it runs."
            ) from error

    def _active_run_id(self) -> str:
        return str(self._open.mlflow_run_id or self._open.active_run().info.run_id)

    def _ensure_experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        embedded = self.tracking_uri.startswith("sqlite:")
        location = (self.artifacts / name).as_uri() if embedded else None
        return str(self.client.create_experiment(name, artifact_location=location))

    def _run_or_new(self, run_id: str, experiment: str) -> Any:
        """The run that trained; a tracker that has lost it gets a finished one in its place."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        run = self.client.create_run(self._ensure_experiment(experiment), tags={"replaces_run": run_id})
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run

    def _close_abandoned(self, experiment: str) -> None:
        """Close runs whose Dagster run has ended, or whose process on this machine was killed.

        Dagster alone can't tell: a run whose process was killed stays STARTED, and a run that this instance does not
        know may be another instance's and alive.
        """
        assert self.instance is not None
        found = self.client.get_experiment_by_name(experiment)
        for run in self.client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'"):
            dagster_run = self.instance.get_run_by_id(run.data.tags.get("dagster_run_id", ""))
            process = run.data.tags.get(PROCESS)
            ended = dagster_run.is_finished if dagster_run else process is None
            if ended or (process is not None and _is_dead(process)):
                cancelled = dagster_run is not None and dagster_run.status == dg.DagsterRunStatus.CANCELED
                self.client.set_terminated(run.info.run_id, "KILLED" if cancelled else "FAILED")

    def _status(self) -> str:
        """FINISHED, FAILED or KILLED, from the events of the Dagster run."""
        assert self.instance is not None
        assert self.run is not None
        events = [entry.dagster_event for entry in self.instance.all_logs(self.run.run_id) if entry.dagster_event]
        steps: dict[str, set[str | None]] = {}
        for event in events:
            steps.setdefault(event.event_type_value, set()).add(event.step_key)
        checks = [e.asset_check_evaluation_data for e in events if e.event_type_value == "ASSET_CHECK_EVALUATION"]
        failures = [e.step_failure_data for e in events if e.event_type_value == "STEP_FAILURE"]
        if any(f.error_source and f.error_source.value == "INTERRUPT" for f in failures):  # cancelled in a step
            return "KILLED"
        if failures or any(c.blocking and c.severity is dg.AssetCheckSeverity.ERROR and not c.passed for c in checks):
            return "FAILED"
        begun, ended = steps.get("STEP_START", set()), steps.get("STEP_SUCCESS", set())
        return "FINISHED" if begun <= ended else "KILLED"


def _is_dead(process: str) -> bool:
    """Whether the process that a PROCESS tag names is gone; one of another machine is taken to live."""
    host, _, rest = process.partition(" ")
    if host != socket.gethostname():
        return False
    pid, started = rest.split()
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > CLOCK_SLIP
    except psutil.NoSuchProcess:
        return True


def tracking_resource(settings: Settings) -> dg.ResourceDefinition:
    """The Dagster resource: a `Tracking` that closes what was opened."""

    @dg.resource(description="MLflow, through dagster-mlflow; closes its run when this run ends, however it ends.")
    def tracking(context: dg.InitResourceContext) -> Iterator[Tracking]:
        opened = Tracking(settings.tracking_uri, settings.home / "mlartifacts", context.instance, context.dagster_run)
        try:
            yield opened
        finally:
            opened.close()

    return tracking

"""Metrics that reach MLflow while a training runs. Trouble there is said once and never stops the training."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EVERY = 5
"""Steps between two requests."""


class LiveMetrics:
    """Buffers metrics and sends them to one MLflow run."""

    def __init__(self, tracking_uri: str, run_id: str, log: Any) -> None:
        self.run_id = run_id
        self.log = log
        self.complete = bool(run_id)
        self._client: Any = None
        self._pending: list[Any] = []
        if not run_id:
            return
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with self._never_fatal():  # making a client already reaches for the database
            import mlflow

            self._client = mlflow.MlflowClient(tracking_uri)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take the metrics of one step; every few steps they are sent."""
        if self._client is None or not self.complete:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(name, value, now, step) for name, value in values.items()]
        if step % EVERY == 0:
            self._send()

    def close(self) -> None:
        """Send what is left."""
        if self._client is not None and self.complete and self._pending:
            self._send()

    def _send(self) -> None:
        with self._never_fatal():
            self._client.log_batch(self.run_id, metrics=self._pending)
        self._pending = []

    @contextmanager
    def _never_fatal(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, the training goes on
            self.complete = False
            self.log.warning(
                f"MLflow takes no metrics ({' '.join(str(error).split())[:200]}); they are sent at the end."
            )

"""Where a checkout keeps its state, read from the environment once, when definitions are built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resources.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ("development", "training", "staging", "production")

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""No library reports home, and no model hub is asked for anything."""

PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""For every process that computes: threads that spin while they wait starve each other on a busy machine."""


@dataclass(frozen=True)
class Settings:
    """Paths and addresses of one environment; everything embedded lives below `home`."""

    environment: str
    home: Path
    store_url: str
    tracking_uri: str
    lines_dir: Path
    alert_urls: tuple[str, ...] = ()
    reports_port: int = 3901

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read `LLM_ENV`, `LLM_HOME`, `LLM_STORE`, `LLM_LINES`, `LLM_ALERT_URLS`, `LLM_REPORTS_PORT` and
        `MLFLOW_TRACKING_URI`.

        Raises:
            SettingsError: `LLM_ENV` names an environment that does not exist, or `LLM_REPORTS_PORT` is no port.
        """
        environment = environ.get("LLM_ENV") or "development"
        if environment not in ENVIRONMENTS:
            raise SettingsError(f"LLM_ENV is {environment!r}; allowed are {', '.join(ENVIRONMENTS)}.")
        if environment != "development":
            raise SettingsError(f"LLM_ENV is {environment!r}; only development has its resources so far.")
        port = environ.get("LLM_REPORTS_PORT") or "3901"
        if not port.isdecimal() or not 1024 <= int(port) <= 65535:
            raise SettingsError(f"LLM_REPORTS_PORT is {port!r}; allowed is a port from 1024 to 65535.")
        home = Path(environ.get("LLM_HOME") or ROOT / ".llm").absolute()
        return cls(
            environment=environment,
            home=home,
            store_url=environ.get("LLM_STORE") or str(home / "store"),
            tracking_uri=environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}",
            lines_dir=Path(environ.get("LLM_LINES") or ROOT / "lines").absolute(),
            alert_urls=tuple((environ.get("LLM_ALERT_URLS") or "").split()),
            reports_port=int(port),
        )

    @property
    def serving_dir(self) -> Path:
        """State, logs and request records of the local servers, a folder per line."""
        return self.home / "serving"

    def report_url(self, tree: str, page: str) -> str:
        """Where `make ui` serves a page of the store's tree of this digest (`resources/reports.py`)."""
        return f"http://127.0.0.1:{self.reports_port}/reports/{tree}/{page}"

    def resolve(self, path: str) -> Path:
        """A path of a line file: relative ones are relative to the folder above `lines/`."""
        return (self.lines_dir.parent / path).absolute()

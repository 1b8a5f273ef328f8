"""Assembly only: which lines, assets, checks, jobs, sensors and resources this code location has."""

import os
from collections.abc import Mapping
from typing import Any

import click
import dagster as dg

from llm_assets.data.assets import definitions_for as data
from llm_assets.evaluation.assets import definitions_for as evaluation
from llm_assets.jobs import jobs_for
from llm_assets.line import Line, load_lines
from llm_assets.materialize import RecordIOManager
from llm_assets.monitoring.assets import definitions_for as monitoring
from llm_assets.release.assets import definitions_for as release
from llm_assets.serving.assets import definitions_for as serving
from llm_assets.serving.rollback import rollback_job
from llm_assets.training.assets import definitions_for as training
from resources.compute import Compute
from resources.console import console_logger
from resources.errors import LineError, SettingsError
from resources.notifier import Notifier
from resources.registry import DataRegistry
from resources.serving import LocalServing
from resources.settings import TELEMETRY_OFF, Settings
from resources.signing import Signer
from resources.store import ArtifactStore
from resources.tracking import tracking_resource
from sensors import sensors_for

STAGES = (data, training, evaluation, release, serving, monitoring)


def resources_of(settings: Settings) -> dict[str, Any]:
    """The resources of one environment, by the names that assets ask for them."""
    store = ArtifactStore(settings.store_url, settings.home / "cache")
    return {
        "settings": settings,
        "store": store,
        "io_manager": RecordIOManager(store),
        "registry": DataRegistry(settings.home / "cache"),
        "compute": Compute(TELEMETRY_OFF),
        "tracking": tracking_resource(settings),
        "signer": Signer(settings.home / "keys" / "verdicts.pem"),
        "serving": LocalServing(settings.serving_dir),
        "notifier": Notifier(settings.home / "alerts.jsonl", settings.alert_urls),
    }


def line_definitions(line: Line) -> dg.Definitions:
    """Everything that one line has, without resources."""
    jobs = jobs_for(line)
    return dg.Definitions.merge(
        *(stage(line) for stage in STAGES),
        dg.Definitions(jobs=[*jobs, rollback_job(line)], sensors=sensors_for(line)),
    )


def build_definitions(settings: Settings, overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The code location: every line of `settings.lines_dir`, and the resources, some of them replaced."""
    return dg.Definitions.merge(
        *(line_definitions(line) for line in load_lines(settings.lines_dir)),
        dg.Definitions(
            resources={**resources_of(settings), **(overrides or {})},
            executor=dg.in_process_executor,
            loggers={"console": console_logger},
        ),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads.

    Raises:
        ClickException: a line file or a setting is wrong. Dagster's commands print it as one sentence.
    """
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)
    try:
        return build_definitions(Settings.from_env())
    except (LineError, SettingsError) as error:
        raise click.ClickException(str(error)) from None

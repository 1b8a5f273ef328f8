"""The jobs of a line, under their stable names."""

from typing import Any

import dagster as dg

from llm_assets.line import Line

TRAINING_ASSETS = (
    "source_dataset",
    "evaluation_sets",
    "dataset",
    "quarantine",
    "base_model",
    "prompt",
    "gate_calibration",
    "checkpoint",
    "evaluation_report",
    "verdict",
    "registered_model",
)
DEPLOYMENT_ASSETS = ("release", "staging_deployment", "production_deployment")
MONITORING_ASSETS = ("request_window", "drift_report")

# Runs with this tag train: `dagster.yaml` lets one of them run at a time, since each wants most of a machine.
TRAINS = {"llm/trains": "true"}

CONSOLE: dict[str, Any] = {"loggers": {"console": {"config": {}}}}
"""Run config that chooses the readable console (`resources/console.py`)."""


def jobs_for(line: Line) -> list[dg.JobDefinition]:
    """continuous_training, deployment, ship and monitoring, prefixed by the line's name. `rollback` is an op job of
    the serving stage."""
    return [
        _job(line, "continuous_training", TRAINING_ASSETS, "Data to registered model, through every gate.", TRAINS),
        _job(line, "deployment", DEPLOYMENT_ASSETS, "The newest registered model to staging, then production.", {}),
        _job(line, "ship", TRAINING_ASSETS + DEPLOYMENT_ASSETS, "Data to production, through every gate.", TRAINS),
        _job(line, "monitoring", MONITORING_ASSETS, "One hour of requests, compared with the training data.", {}),
    ]


def _job(line: Line, name: str, assets: tuple[str, ...], description: str, tags: dict[str, str]) -> dg.JobDefinition:
    job: dg.JobDefinition = dg.define_asset_job(  # type: ignore[assignment]
        f"{line.name}_{name}",
        selection=dg.AssetSelection.assets(*[dg.AssetKey([line.name, asset]) for asset in assets]),
        description=description,
        tags={"line": line.name, **tags},
        config=CONSOLE,
    )
    return job

"""The line's own automation sensor: Dagster's default one starts STOPPED."""

import dagster as dg

from llm_assets.line import Line

FOLLOWERS = ("release", "staging_deployment")


def automation(line: Line) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of `llm_assets/automation.py` for what follows a new model."""
    return dg.AutomationConditionSensorDefinition(
        f"{line.name}_automation",
        target=dg.AssetSelection.assets(*[dg.AssetKey([line.name, name]) for name in FOLLOWERS]),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        run_tags={"line": line.name},
        description="A newly registered model is released and staged by itself; promotion never is.",
    )

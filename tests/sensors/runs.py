"""A line in miniature whose runs really happen on an instance of its own: gates that fail, steps that break."""

from pathlib import Path
from typing import Any

import dagster as dg

from resources.store import ArtifactStore


class Runs:
    """Executes runs as the CLI does, outside any daemon."""

    def __init__(self, tmp_path: Path, line: str = "small") -> None:
        self.line = line
        self.instance = dg.DagsterInstance.ephemeral()
        self.store = ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")
        self.dataset = "d1"
        self.gate_passes = True
        self.breaks = False
        self.drift: dict[str, Any] | None = None

    def definitions(self) -> dg.Definitions:
        line = self.line

        @dg.asset(key=[line, "dataset"])
        def dataset() -> dg.MaterializeResult[Any]:
            if self.breaks:
                raise dg.Failure("the data is broken; publish it again.")
            return dg.MaterializeResult(metadata={"record": self.dataset})

        @dg.asset(key=[line, "drift_report"])
        def drift_report() -> None: ...

        @dg.asset_check(asset=dg.AssetKey([line, "dataset"]), blocking=True)
        def volume() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.gate_passes, description="FAIL: 3 rows, required >= 20.")

        @dg.asset_check(asset=dg.AssetKey([line, "drift_report"]))
        def drift() -> dg.AssetCheckResult:
            assert self.drift is not None
            warns = self.drift["outcome"] == "INCONCLUSIVE"
            return dg.AssetCheckResult(
                passed=self.drift["outcome"] == "PASS",
                severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
                metadata=self.drift,
            )

        def job(name: str, *assets: str) -> Any:
            selection = dg.AssetSelection.assets(*[dg.AssetKey([line, asset]) for asset in assets])
            return dg.define_asset_job(f"{line}_{name}", selection, tags={"line": line})

        return dg.Definitions(
            assets=[dataset, drift_report],
            asset_checks=[volume, drift],
            jobs=[job("continuous_training", "dataset"), job("monitoring", "drift_report")],
            executor=dg.in_process_executor,
        )

    def run(self, job: str, **tags: str) -> dg.DagsterRun:
        definition = self.definitions().resolve_job_def(f"{self.line}_{job}")
        result = definition.execute_in_process(instance=self.instance, raise_on_error=False, tags=tags)
        found = self.instance.get_run_by_id(result.run_id)
        assert found is not None
        return found

    def look(self, outcome: str, report: str, dataset: str = "d1", hour: str = "2026-01-31-14:00") -> None:
        self.drift = {"outcome": outcome, "report": report, "dataset": dataset, "hour": hour}
        self.run("monitoring")

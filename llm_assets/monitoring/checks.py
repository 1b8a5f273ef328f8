"""The gate of monitoring: does an hour of requests still look like the training data?"""

import math

import dagster as dg

from llm_assets.checks import check_result
from llm_assets.gates import Gate
from llm_assets.line import Line
from llm_assets.records.gate import GateResult
from llm_assets.records.monitoring import DriftReport

DRIFT = "drift"


def drift_gates() -> list[Gate[DriftReport]]:
    """One gate, `drift`, on `drift_report`."""
    description = "Requests look like the training data: every feature's PSI is within its calibrated bound."
    return [Gate(DRIFT, "drift_report", description, _judge)]


def drift_check(line: Line, hours: dg.PartitionsDefinition[str]) -> dg.AssetChecksDefinition:
    """The gate as a check per hour. Not blocking, since nothing depends on it; passed only on PASS.

    Too few requests are a warning; everything else that does not pass is an error. What `sensors/data_drift.py` needs
    to know of the cause is in the metadata.
    """
    [gate] = drift_gates()

    @dg.asset_check(
        asset=dg.AssetKey([line.name, gate.asset]), name=gate.name, description=gate.description, partitions_def=hours
    )
    def drift(context: dg.AssetCheckExecutionContext, record: DriftReport) -> dg.AssetCheckResult:
        result = gate.judge(record)
        shown = check_result(result)
        warns = result.outcome == "INCONCLUSIVE"
        cause = {"report": record.digest, "dataset": record.dataset, "hour": context.partition_key}
        return dg.AssetCheckResult(
            passed=result.passed,
            severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            description=shown.description,
            metadata={**shown.metadata, **cause},
        )

    return drift


def _judge(report: DriftReport) -> GateResult:
    bound = "every feature's PSI within its bound"

    def result(outcome: str, reason: str, value: float | None = None) -> GateResult:
        return GateResult.model_validate(
            {
                "gate": DRIFT,
                "asset": "drift_report",
                "outcome": outcome,
                "reason": reason,
                "value": value,
                "bound": bound,
                "n": report.n,
            }
        )

    if report.n < report.minimum:
        return result("INCONCLUSIVE", f"{report.n} requests with a prompt, at least {report.minimum} are needed.")
    if not report.features or not all(math.isfinite(one.psi) and math.isfinite(one.bound) for one in report.features):
        return result("ERROR", "no finite PSI for every feature.")
    drifted = [f"{one.feature} {one.psi:.3g} > {one.bound:.3g}" for one in report.features if one.psi > one.bound]
    worst = max(one.psi for one in report.features)
    if drifted:
        return result("FAIL", f"PSI of {', '.join(drifted)}.", worst)
    return result("PASS", f"the highest PSI is {worst:.3g}, all within their bounds.", worst)

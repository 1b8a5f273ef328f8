"""Turns gates into blocking asset checks."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from llm_assets.gates import Gate
from llm_assets.records.gate import GateResult
from llm_assets.records.record import Record


def gate_checks(
    line: str, asset: str, record_type: type[Record], gates: Sequence[Gate[Any]]
) -> list[dg.AssetChecksDefinition]:
    """One asset check per gate on `line/asset`. Only PASS lets the run go on, but for a gate that only advises."""
    return [_gate_check(line, asset, record_type, gate) for gate in gates]


def check_result(result: GateResult) -> dg.AssetCheckResult:
    """Show a gate's outcome in the UI."""
    figures = {"value": result.value, "low": result.low, "high": result.high, "n": result.n}
    return dg.AssetCheckResult(
        passed=result.passed,
        severity=dg.AssetCheckSeverity.WARN if result.advisory else dg.AssetCheckSeverity.ERROR,
        description=f"{result.outcome}: {result.reason}",
        metadata={
            "outcome": result.outcome,
            "required": result.bound,
            **{name: value for name, value in figures.items() if value is not None},
            **({"details": dg.MetadataValue.md(result.details)} if result.details else {}),
        },
    )


def _gate_check(line: str, asset: str, record_type: type[Record], gate: Gate[Any]) -> dg.AssetChecksDefinition:
    def check(record: Any) -> dg.AssetCheckResult:
        return check_result(gate.judge(record))

    check.__annotations__["record"] = record_type  # tells the IO manager what to read the input as
    decorate = dg.asset_check(
        asset=dg.AssetKey([line, asset]), name=gate.name, description=gate.description, blocking=not gate.advisory
    )
    return decorate(check)

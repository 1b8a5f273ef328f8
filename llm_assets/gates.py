"""A gate: a pure function from records to an outcome, shown as a blocking asset check.

The same functions are used three times: by the checks that a run shows, by the verdict that is signed, and by the
guard before anything reaches users. So what the UI shows is what is enforced, and nothing depends on a check
having been executed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from llm_assets.records.gate import GateResult
from llm_assets.records.record import Record

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Gate(Generic[R]):
    """One quality gate on the record of one asset."""

    name: str
    asset: str
    """The asset's name without the line's prefix."""
    description: str
    judge: Callable[[R], GateResult]
    advisory: bool = False
    """Its outcome is shown and stops nothing."""


def bounded(
    gate: str,
    asset: str,
    value: float | None,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
    unit: str = "",
) -> GateResult:
    """Compare a value, or the interval around it, with a bound.

    The interval must lie on the right side as a whole: its low end at or above `minimum`, its high end at or below
    `maximum`. Point values are intervals of width 0. Missing and non-finite values are ERROR; an interval that
    holds the bound is INCONCLUSIVE; neither passes.
    """
    low = value if low is None else low
    high = value if high is None else high
    sides = ([f">= {minimum:g}"] if minimum is not None else []) + ([f"<= {maximum:g}"] if maximum is not None else [])
    bound = " and ".join(sides)

    def result(outcome: str, reason: str) -> GateResult:
        finite = {
            k: v for k, v in {"value": value, "low": low, "high": high}.items() if v is not None and math.isfinite(v)
        }
        return GateResult.model_validate(
            {"gate": gate, "asset": asset, "outcome": outcome, "reason": reason, "bound": bound, "n": n, **finite}
        )

    if value is None or low is None or high is None or not all(map(math.isfinite, (value, low, high))):
        return result("ERROR", f"no finite value to compare with {bound} (found {value}).")
    interval = f"{value:.4g}{unit}" if low == high else f"{value:.4g}{unit} [{low:.4g}, {high:.4g}]"
    if (minimum is not None and high < minimum) or (maximum is not None and low > maximum):
        return result("FAIL", f"{interval}, required {bound}.")
    if (minimum is not None and low < minimum) or (maximum is not None and high > maximum):
        return result("INCONCLUSIVE", f"{interval} is not surely {bound}; more examples would decide.")
    return result("PASS", f"{interval}, required {bound}.")

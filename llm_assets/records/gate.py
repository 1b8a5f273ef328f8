"""What a quality gate says, and how sure a measured rate is."""

from typing import Literal

from llm_assets.records.record import Record


class Rate(Record):
    """A share, or a net share, with its one-sided bounds at 95%, each."""

    value: float
    low: float
    high: float
    """One-sided bounds at 95%, each."""
    n: int


UNMEASURED = Rate(value=0.0, low=0.0, high=1.0, n=0)
"""Of nothing, or in a record from before this rate was measured; it holds to no threshold."""


GateOutcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]


class GateResult(Record):
    """What one gate said of one record."""

    gate: str
    asset: str
    """The asset whose record was judged, without the line's prefix."""
    outcome: GateOutcome
    reason: str
    """One sentence with the figures."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bound: str = ""
    """What is required, for example `>= 0.5`."""
    n: int | None = None
    details: str = ""
    """More for people, as Markdown, where one sentence is not enough."""
    advisory: bool = False
    """Shown, but never in the way."""
    false_pass: Rate | None = None
    """In a verdict: how often the gate passes a model it must not, measured by its calibration."""
    false_fail: Rate | None = None
    """How often it fails one that it must pass."""

    @property
    def passed(self) -> bool:
        """Only PASS is a pass."""
        return self.outcome == "PASS"

    @property
    def blocks(self) -> bool:
        """Whether it keeps its subject from users: everything but a pass does, unless the gate only advises."""
        return not self.passed and not self.advisory

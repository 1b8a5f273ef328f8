"""What the monitoring stage hands on."""

from llm_assets.records.record import Record
from resources.store import Artifact


class RequestWindow(Record):
    """The requests of one hour, as the gateway wrote them."""

    hour: str
    """ISO 8601, UTC, for example 2026-01-31T14:00:00+00:00."""
    rows: Artifact
    """requests.jsonl"""
    n: int
    failed: int
    malformed: int = 0
    """Lines of the hour's file that are no request record, a last one that was cut off included."""
    releases: dict[str, int]
    """Digest of the release -> requests it answered."""


class Drift(Record):
    """One feature of the window against the training data."""

    feature: str
    psi: float
    """Population stability index over shared bins (natural logarithm)."""
    bound: float
    """The value that a window of this size drawn from the training data stays below with the line's confidence."""
    drifted: bool


class DriftReport(Record):
    """The window's requests compared with the training data."""

    window: str
    dataset: str
    n: int
    minimum: int
    features: list[Drift]
    page: Artifact
    """drift.html with a plot per feature."""

"""What the asset hands to the child process that compares, and what comes back. Light: both sides import it."""

from pathlib import Path

from llm_assets.line import MonitoringSpec
from llm_assets.records.monitoring import Drift
from llm_assets.records.record import Record
from resources.store import Artifact, ArtifactStore

FEATURES = ("length", "category", "embedding")
"""Characters of the prompt; category of the nearest training example with another text; distance to it (1 - cosine)."""


class Reference(Record):
    """The training data as a window is compared with it, computed once per dataset: reference.npz."""

    files: Artifact
    rows: int


class DriftRequest(Record):
    """Which window to compare with which training data."""

    store_url: str
    store_cache: str
    line: str
    hour: str
    window: Artifact
    """requests.jsonl"""
    dataset: Artifact
    """train.jsonl"""
    dataset_name: str
    embedder: str
    """Folder of the embedder's model."""
    reference_key: str
    """Where the store keeps the Reference, see `ArtifactStore.get_result`."""
    monitoring: MonitoringSpec

    @property
    def store(self) -> ArtifactStore:
        """The store that is read from and written to."""
        return ArtifactStore(self.store_url, Path(self.store_cache))


class Comparison(Record):
    """What the child reports back."""

    features: list[Drift]
    n: int
    """Prompts that were compared."""
    page: Artifact
    """drift.html and drift.png."""
    embedded: int
    """Texts that had to be embedded."""

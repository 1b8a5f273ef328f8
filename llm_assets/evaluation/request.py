"""What the asset hands to the evaluation's child process. Light on purpose: both sides import it."""

from pathlib import Path

from llm_assets.evaluation.outputs import Subject
from llm_assets.line import Line
from llm_assets.records import EvaluationReport, EvaluationSets, Record
from resources.store import Artifact, ArtifactStore


class Identity(Record):
    """The digests of the records that a report is about."""

    checkpoint: str
    base_model: str
    prompt: str
    dataset: str
    evaluation_sets: str
    judge: str
    champion: str


class EvaluationRequest(Record):
    """Which models to measure on which sets, and what to report."""

    store_url: str
    store_cache: str
    line: Line
    subjects: dict[str, Subject]
    """`base`, `candidate` and, if one serves, `champion`."""
    sets: EvaluationSets
    embedder: str
    """Folder of the embedding judge's model; empty for a chat judge."""
    curve: Artifact
    """Loss curve of the candidate's training."""
    champion_name: str
    identity: Identity
    code: dict[str, str]
    """`outputs` and `scores` -> version of the code that makes them."""

    @property
    def store(self) -> ArtifactStore:
        """The store that results are read from and written to."""
        return ArtifactStore(self.store_url, Path(self.store_cache))


class Evaluation(Record):
    """What the child reports back."""

    report: EvaluationReport
    computed: dict[str, int]
    """`outputs`, `scores` and `measurements` -> how many were not there yet."""

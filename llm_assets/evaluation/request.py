"""What the asset hands to the evaluation's child process. Light on purpose: both sides import it."""

from pathlib import Path

from llm_assets.evaluation.outputs import Subject
from llm_assets.line import Line
from llm_assets.records.data import EvaluationSets
from llm_assets.records.evaluation import CalibrationIdentity, EvaluationReport, GateCalibration, Identity
from llm_assets.records.record import Record
from resources.store import Artifact, ArtifactStore


class ScoringRequest(Record):
    """Which models to ask and score on which sets."""

    store_url: str
    store_cache: str
    line: Line
    subjects: dict[str, Subject]
    """`base`, and of `candidate` and `champion` those that there are."""
    sets: EvaluationSets
    embedder: str
    """Folder of the embedding judge's model; empty for a chat judge."""
    judge: str
    """Digest of the judge."""
    code: dict[str, str]
    """`outputs` and `scores` -> version of the code that makes them."""

    @property
    def store(self) -> ArtifactStore:
        """The store that results are read from and written to."""
        return ArtifactStore(self.store_url, Path(self.store_cache))


class EvaluationRequest(ScoringRequest):
    """A scoring, and what its report is about."""

    curve: Artifact
    """Loss curve of the candidate's training."""
    champion_name: str
    identity: Identity
    calibration: GateCalibration


class CalibrationRequest(ScoringRequest):
    """A scoring of the base and perhaps a champion, from whose scores equal and worse models are made."""

    identity: CalibrationIdentity


class Evaluation(Record):
    """What the child reports back."""

    report: EvaluationReport
    computed: dict[str, int]
    """`outputs` (of a model to a set), the `answers` in them, `scores` and `measurements` -> how many were new."""

"""What the release stage hands on."""

from typing import Any, ClassVar

from llm_assets.records.gate import GateResult
from llm_assets.records.record import Record
from resources.store import Artifact


class Verdict(Record):
    """All gates of one candidate, bound to everything they were judged on."""

    line: str
    passed: bool
    gates: list[GateResult]
    subject: dict[str, str]
    """Name -> digest of adapter, base model, tokenizer, chat template, prompt, dataset, evaluation sets, judge,
    gate policy and the report itself."""
    key_id: str
    signature: str
    """Ed25519 over the canonical JSON of everything above, hex."""

    UNSIGNED: ClassVar[set[str]] = {"signature"}

    def signed_content(self) -> dict[str, Any]:
        """What the signature covers."""
        return self.model_dump(mode="json", exclude=self.UNSIGNED)


class RegisteredModel(Record):
    """A version in the MLflow model registry."""

    name: str
    version: int
    mlflow_run_id: str
    adapter: str
    verdict: str


class Release(Record):
    """The bundle that is deployed as one unit."""

    line: str
    name: str
    """For example `assistant-v3`; the number is the registered version."""
    version: int
    adapter: Artifact
    checkpoint: str
    base_model: str
    base_files: Artifact
    prompt: str
    dataset: str
    verdict: str
    card: Artifact
    """README.md, the model card."""

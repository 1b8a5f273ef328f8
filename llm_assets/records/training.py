"""What the training stage hands on."""

from typing import Any

from llm_assets.records.record import Record
from resources.store import Artifact


class BaseModelVersion(Record):
    """A base model as safetensors with its tokenizer, ready for transformers."""

    source: str
    files: Artifact
    weights: str
    """sha256 over the weight files."""
    tokenizer: str
    chat_template: str
    parameters: int


class Prompt(Record):
    """The system prompt; empty means none."""

    system: str


class Checkpoint(Record):
    """A LoRA adapter and where it came from."""

    adapter: Artifact
    """adapter_model.safetensors and adapter_config.json."""
    curve: Artifact
    """curve.json: {"train": [[step, loss]], "validation": [[step, loss]]}, nats per answer token."""
    base_model: str
    """Digest of the BaseModelVersion."""
    dataset: str
    prompt: str
    training: dict[str, Any]
    """The line's training section."""
    steps: int
    first_validation_loss: float
    final_train_loss: float
    final_validation_loss: float
    mlflow_run_id: str

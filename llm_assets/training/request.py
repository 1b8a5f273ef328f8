"""What the asset hands to the training's child process, and what comes back. Light: both sides import it."""

from llm_assets.line import TrainingSpec
from llm_assets.records.record import Record


class TrainingRequest(Record):
    """One LoRA training."""

    base: str
    """Folder of the base model."""
    dataset: str
    """Folder with train.jsonl and validation.jsonl."""
    system: str
    training: TrainingSpec
    folder: str
    """Where the adapter and the curve go."""
    tracking_uri: str
    mlflow_run_id: str
    """Run that gets live metrics; empty for none."""


class Trained(Record):
    """What a training reports; the files lie in the request's folder below `adapter/` and `curve/`."""

    steps: int
    first_validation_loss: float
    final_train_loss: float
    final_validation_loss: float
    tokens: int
    """Answer and prompt tokens that were trained on."""
    seconds: float
    tracked: bool
    """Whether every metric reached MLflow while training."""

"""The gates of the training stage, on the checkpoint's record."""

import math

from llm_assets.gates import Gate, bounded
from llm_assets.line import Line
from llm_assets.records.gate import GateResult
from llm_assets.records.training import Checkpoint

ASSET = "checkpoint"


def checkpoint_gates(line: Line) -> list[Gate[Checkpoint]]:
    """`training_converged` and `checkpoint_is_safe`."""
    return [
        Gate("training_converged", ASSET, f"{line.name}: the validation loss fell.", _converged),
        Gate("checkpoint_is_safe", ASSET, f"{line.name}: nothing but a safetensors adapter was published.", _is_safe),
    ]


def _converged(checkpoint: Checkpoint) -> GateResult:
    first = checkpoint.first_validation_loss
    final = checkpoint.final_validation_loss if math.isfinite(first) else None
    below = math.nextafter(first, -math.inf)  # a loss that stayed where it was shows that nothing was learned
    return bounded("training_converged", ASSET, final, maximum=below, unit=" nats per token")


def _is_safe(checkpoint: Checkpoint) -> GateResult:
    """The child refuses every other kind of file before it publishes (`language_model.check_adapter`); what remains
    to be seen on the record is that just the two files are there."""
    return bounded("checkpoint_is_safe", ASSET, float(checkpoint.adapter.files), minimum=2, maximum=2, unit=" files")

"""Child process: fine-tune a LoRA adapter, loss on the answers only.

A loop of our own instead of a trainer class: what is wanted is short (one device, no resuming, no callbacks), and
packs without padding with logits on answer tokens alone are several times faster here than padded batches.
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import torch
from dagster_pipes import PipesContext
from tqdm import tqdm

from llm_assets.child import Json, serve
from llm_assets.language_model import (
    Example,
    answer_losses,
    check_adapter,
    encode_example,
    load_model,
    load_tokenizer,
    packed_losses,
    packs,
)
from llm_assets.plots import curve_plot, png
from llm_assets.training.batches import batches, learning_rate
from llm_assets.training.live import LiveMetrics
from llm_assets.training.request import Trained, TrainingRequest
from resources.errors import ModelError, TrainingError

VALIDATION_ROWS = 32
"""Enough to see a trend, few enough to cost seconds."""
CLIP = 1.0


class Training:
    """One training from request to files."""

    def __init__(self, request: TrainingRequest, pipes: PipesContext) -> None:
        self.request = request
        self.spec = request.training
        self.log = pipes.log
        self.tokenizer = load_tokenizer(Path(request.base))
        self.train = self._examples("train")
        self.validation = self._examples("validation")[:VALIDATION_ROWS]
        torch.manual_seed(self.spec.seed)
        self.model = self._adapted(load_model(Path(request.base)))
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=self.spec.learning_rate, weight_decay=0.0)
        self.live = LiveMetrics(request.tracking_uri, request.mlflow_run_id, pipes.log)
        self.curve: dict[str, list[tuple[int, float]]] = {"train": [], "validation": []}
        self.tokens = 0

    def run(self) -> Trained:
        """Train, then write `adapter/` and `curve/`."""
        start = time.monotonic()
        self._validate(0)
        source = batches(self.train, self.spec.batch_size, self.spec.seed)
        for step in self._progress(start):
            self._step(step, next(source))
            if step == self.spec.steps or step % self.spec.validate_every == 0:
                self._validate(step)
        self.live.close()
        self._save()
        validation = self.curve["validation"]
        return Trained(
            steps=self.spec.steps,
            first_validation_loss=validation[0][1],
            final_train_loss=self.curve["train"][-1][1],
            final_validation_loss=validation[-1][1],
            tokens=self.tokens,
            seconds=time.monotonic() - start,
            tracked=self.live.complete,
        )

    def _examples(self, split: str) -> list[Example]:
        with (Path(self.request.dataset) / f"{split}.jsonl").open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        if not rows:
            raise TrainingError(f"{split}.jsonl of the dataset is empty; check the gates `volume` and `distribution`.")
        limit = self.spec.maximum_tokens
        return [encode_example(self.tokenizer, row["messages"], self.request.system, limit) for row in rows]

    def _adapted(self, model: Any) -> Any:
        config = peft.LoraConfig(
            r=self.spec.rank,
            lora_alpha=self.spec.alpha,
            lora_dropout=self.spec.dropout,
            target_modules=sorted(self.spec.target_modules),
            task_type="CAUSAL_LM",
        )
        try:
            return peft.get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(
                f"training.target_modules {self.spec.target_modules} don't fit the base model ({error})."
            ) from error

    def _progress(self, start: float) -> Iterator[int]:
        with tqdm(total=self.spec.steps, desc="training", unit="step", mininterval=1) as bar:
            for step in range(1, self.spec.steps + 1):
                yield step
                loss = self.curve["train"][-1][1]
                speed = self.tokens / (time.monotonic() - start)
                bar.set_postfix_str(f"loss {loss:.3f}, {speed:.0f} tokens/s", refresh=False)
                bar.update()
                if step % 10 == 0 or step == self.spec.steps:
                    self.log.info(f"step {step}/{self.spec.steps}: loss {loss:.4f}, {speed:.0f} tokens/s")

    def _step(self, step: int, batch: list[Example]) -> None:
        rate = learning_rate(step - 1, self.spec.steps, self.spec.warmup_steps, self.spec.learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        answers = sum(len(ids) - answer_start for ids, answer_start in batch)
        self.model.train()
        total = 0.0
        for pack in packs(batch, self.spec.batch_size):
            losses, _ = packed_losses(self.model, pack)
            loss = losses.sum() / answers
            loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at step {step}; lower training.learning_rate or look at the data."
            )
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.tokens += sum(len(ids) for ids, _ in batch)
        self.curve["train"].append((step, total))
        self.live.add(step, {"train_loss": total, "learning_rate": rate})

    def _validate(self, step: int) -> None:
        self.model.eval()
        measured = answer_losses(self.model, self.tokenizer, self.validation, self.spec.batch_size)
        loss = sum(nats for nats, _ in measured) / sum(tokens for _, tokens in measured)
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss is {loss} at step {step}; lower training.learning_rate.")
        self.curve["validation"].append((step, loss))
        self.live.add(step, {"validation_loss": loss})
        self.log.info(f"step {step}/{self.spec.steps}: validation loss {loss:.4f} nats per answer token")

    def _save(self) -> None:
        folder = Path(self.request.folder)
        written, adapter, curve = folder / "written", folder / "adapter", folder / "curve"
        self.model.save_pretrained(written)
        for made in (adapter, curve):
            made.mkdir(parents=True, exist_ok=True)
        (written / "adapter_model.safetensors").replace(adapter / "adapter_model.safetensors")
        config = json.loads((written / "adapter_config.json").read_text())
        # Neither a path of this machine nor the order of a set belongs into bytes that are named by their digest.
        config["base_model_name_or_path"] = ""
        config["target_modules"] = sorted(config["target_modules"])
        (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
        check_adapter(adapter)
        (curve / "curve.json").write_text(json.dumps(self.curve))
        (curve / "curve.png").write_bytes(png(curve_plot(json.loads(json.dumps(self.curve)))))


def train(request: Json, pipes: PipesContext) -> Json:
    """The child's work, see `resources/compute.py`."""
    return Training(TrainingRequest.model_validate(request), pipes).run().content()


if __name__ == "__main__":
    serve(train)

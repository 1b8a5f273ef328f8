"""Batched decoding with a cache: every row has its own sampling, stop strings and end, and reports as it goes.

Left padding and explicit positions give each row the answer that it gets alone. Greedy rows follow the same steps as
`generation.generate`, so what was evaluated is what is served.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from llm_assets import language_model
from llm_assets.serving.text import AnswerText


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: temperature 0 is greedy; top_p is nucleus sampling (arXiv 1904.09751)."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Progress:
    """What became certain: more text, and at the end a reason (`stop`, `length`) or an error."""

    text: str = ""
    reason: str = ""
    tokens: int = 0
    whole: str = ""
    """At the end: the whole answer."""
    error: str = ""


@dataclass(eq=False)
class Generation:
    """One answer to make. `emit` is called from the engine's thread."""

    ids: list[int]
    adapter: str
    """Empty: the base model."""
    max_tokens: int
    sampling: Sampling
    emit: Callable[[Progress], None]
    stop: tuple[str, ...] = ()
    cancelled: bool = False


class _Row:
    """One request while its batch is decoded."""

    def __init__(self, generation: Generation, tokenizer: Any) -> None:
        self.generation = generation
        self.text = AnswerText(lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)), generation.stop)
        self.open = True
        self.random = torch.Generator()
        if generation.sampling.seed is None:
            self.random.seed()
        else:
            self.random.manual_seed(generation.sampling.seed)

    def choose(self, logits: torch.Tensor) -> int:
        """The next token from logits of shape [vocabulary]."""
        sampling = self.generation.sampling
        if sampling.temperature == 0:
            return int(logits.argmax())
        probabilities, order = torch.softmax(logits.double() / sampling.temperature, -1).sort(descending=True)
        before = probabilities.cumsum(-1) - probabilities
        probabilities[before >= sampling.top_p] = 0
        return int(order[torch.multinomial(probabilities, 1, generator=self.random)])

    def take(self, token: int, ends: set[int]) -> None:
        """Append a token, or close the row."""
        if self.generation.cancelled:
            self.open = False
        elif token in ends:
            self._close("stop")
        else:
            self._emit(text=self.text.push(token))
            if self.text.stopped:
                self._close("stop")
            elif len(self.text.tokens) >= self.generation.max_tokens:
                self._close("length")

    def _close(self, reason: str) -> None:
        self.open = False
        self._emit(text=self.text.finish(), reason=reason, tokens=len(self.text.tokens), whole=self.text.sent)

    def _emit(self, **progress: Any) -> None:
        if progress["text"] or progress.get("reason"):
            self.generation.emit(Progress(**progress))


def decode(model: Any, tokenizer: Any, batch: list[Generation]) -> None:
    """Answer every generation of a batch, reporting through its `emit`; a cancelled one costs no further tokens."""
    rows = [_Row(generation, tokenizer) for generation in batch]
    ends = {int(tokenizer.eos_token_id), language_model.turn_end(tokenizer)}
    width = max(len(generation.ids) for generation in batch)
    padding = [width - len(generation.ids) for generation in batch]
    pad = int(tokenizer.eos_token_id)
    ids = torch.tensor([[pad] * gap + row.generation.ids for gap, row in zip(padding, rows, strict=True)])
    mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in padding])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = None
    while any(row.open for row in rows):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        tokens = [row.choose(output.logits[i, -1]) if row.open else pad for i, row in enumerate(rows)]
        for row, token in zip(rows, tokens, strict=True):
            if row.open:
                row.take(token, ends)
        ids = torch.tensor(tokens)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1

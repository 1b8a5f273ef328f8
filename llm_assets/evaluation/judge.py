"""The embedding judge: how like a human reference an answer is.

A sentence embedder (BERT-like, safetensors) with mean pooling over tokens. It needs no account and no network, and it
sees likeness only: not whether an answer is true, kind or well put. The shipped MiniLM knows English; other languages
get a coarse judgement, so read their slices with care.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.errors import ModelError

BATCH = 64
MAXIMUM_TOKENS = 256


class EmbeddingJudge:
    """Compares texts by the cosine of their embeddings. Loads its model at the first text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, NDArray[np.float32]] = {}

    def read(self, texts: Iterable[str]) -> None:
        """Embed the texts that are new, in batches of like length."""
        new = sorted({text for text in texts if text not in self._known}, key=len)
        for batch in _batches(new):
            self._known.update(zip(batch, self._embed(batch), strict=True))

    def embeddings(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit vectors, shape [texts, dimensions]."""
        self.read(texts)
        return np.stack([self._known[text] for text in texts])

    def similarity(self, answer: str, reference: str) -> float:
        """Cosine in [-1, 1]; 0 if either has no word."""
        if not answer.strip() or not reference.strip():
            return 0.0
        first, second = self.embeddings([answer, reference])
        return float(np.clip(first @ second, -1, 1))

    def _embed(self, batch: list[str]) -> NDArray[np.float32]:
        import torch

        tokenizer, model = self._loaded
        encoded = tokenizer(batch, padding=True, truncation=True, max_length=MAXIMUM_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**encoded).last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        vectors: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return vectors

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import transformers

        transformers.utils.logging.disable_progress_bar()
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            model = transformers.AutoModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            problem = " ".join(str(error).split())[:300]
            raise ModelError(f"the judge's embedder {self.folder} can't be loaded ({problem}).") from error
        return tokenizer, model.eval()


def _batches(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), BATCH):
        yield texts[start : start + BATCH]

"""The embedding judge: how like a human reference an answer is.

A sentence embedder (BERT-like, safetensors) with mean pooling over tokens. It needs no account and no network, and it
sees likeness only: not whether an answer is true, kind or well put. The shipped MiniLM knows English; other languages
get a coarse judgement, so read their slices with care.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from llm_assets.evaluation.pairs import Pair, Ruling
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


class EmbeddingPairs:
    """The embedding judge as a judge of pairs, as its qualification needs it: the order of the answers is nothing."""

    claims: ClassVar[tuple[str, ...]] = ("relevance",)

    def __init__(self, judge: EmbeddingJudge, tie_margin: float) -> None:
        self.judge = judge
        self.tie_margin = tie_margin

    def rule(self, pairs: Sequence[Pair]) -> list[Ruling]:
        """Of each pair the answer closer to the reference wins."""
        self.judge.read(text for pair in pairs for text in (pair.reference, pair.first, pair.second))
        return [self._ruling(pair) for pair in pairs]

    def _ruling(self, pair: Pair) -> Ruling:
        first = self.judge.similarity(pair.first, pair.reference)
        second = self.judge.similarity(pair.second, pair.reference)
        return Ruling(closer(first, second, self.tie_margin), f"similarity {first:.2f} and {second:.2f}")


def closer(similarity: float, other: float, tie_margin: float) -> float:
    """1 if the first answer is closer to the reference, 0 if the other is, 0.5 within the margin."""
    if abs(similarity - other) <= tie_margin:
        return 0.5
    return 1.0 if similarity > other else 0.0


def _batches(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), BATCH):
        yield texts[start : start + BATCH]

"""The features of prompts: of the training data, and of a window seen from it. numpy only.

The nearest example of a prompt is the nearest one with another text, for training rows and requests alike. So a new
question and one that is word for word in the training data are both described as a training row is, and a window of
either kind has the training data's distribution of features if the population is the same.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_assets.monitoring.window import prompt_of
from resources.errors import DataError

MAXIMUM_ROWS = 5000
"""Training rows, and prompts of a window, that are looked at: those with the lowest hashes, so that a larger data
set keeps the ones it had."""
CHUNK = 512

Vectors = NDArray[np.float32]
Embed = Callable[[list[str]], Vectors]
"""Texts to unit vectors, shape [texts, dimensions]."""


@dataclass(frozen=True)
class Features:
    """What is compared, one entry per prompt each."""

    length: NDArray[np.int64]
    """Characters."""
    category: NDArray[np.str_]
    """Of the nearest training example."""
    embedding: NDArray[np.float64]
    """1 - cosine to it, rounded so that equal texts are at 0 in every batch."""


@dataclass(frozen=True)
class ReferenceSet:
    """The training data: features of its prompts, and what a window needs to be described."""

    features: Features
    vectors: Vectors
    """Of every distinct prompt."""
    categories: NDArray[np.str_]
    """Of the first row with that prompt."""
    texts: NDArray[np.uint64]
    """Hash of that prompt."""

    def describe(self, prompts: Sequence[str], vectors: Vectors) -> Features:
        """The features of a window's prompts."""
        return _describe(prompts, vectors, self.vectors, self.categories, self.texts)

    def dump(self) -> bytes:
        """As an .npz file, without pickle."""
        buffer = io.BytesIO()
        arrays = {name: getattr(self.features, name) for name in _names()}
        np.savez(buffer, vectors=self.vectors, categories=self.categories, texts=self.texts, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> "ReferenceSet":
        """Read what `dump` wrote."""
        with np.load(path, allow_pickle=False) as file:
            features = Features(**{name: file[name] for name in _names()})
            return cls(features, file["vectors"], file["categories"], file["texts"])


def build_reference(train: Path, embed: Embed) -> ReferenceSet:
    """Describe the training data.

    Raises:
        DataError: the rows have fewer than two different user messages.
    """
    with train.open(encoding="utf-8") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    pairs = [(prompt, str(row["category"])) for row in rows if (prompt := prompt_of(row["messages"]))]
    pairs = lowest(pairs, lambda pair: json.dumps(pair))
    category_of = dict(reversed(pairs))
    distinct = list(category_of)
    if len(distinct) < 2:
        raise DataError(f"{train}: {len(distinct)} different user messages, drift needs 2; use a larger dataset.")
    vectors, categories, texts = embed(distinct), np.array(list(category_of.values())), _hashes(distinct)
    place = {prompt: index for index, prompt in enumerate(distinct)}
    rows_of = np.array([place[prompt] for prompt, _ in pairs])
    once = _describe(distinct, vectors, vectors, categories, texts)
    features = Features(once.length[rows_of], once.category[rows_of], once.embedding[rows_of])
    return ReferenceSet(features, vectors, categories, texts)


def lowest(values: list[Any], text: Callable[[Any], str]) -> list[Any]:
    """At most MAXIMUM_ROWS of the values, chosen by hash; all of them in their order if there are no more."""
    if len(values) <= MAXIMUM_ROWS:
        return values
    return sorted(values, key=lambda value: hashlib.sha256(text(value).encode()).digest())[:MAXIMUM_ROWS]


def _describe(
    prompts: Sequence[str],
    vectors: Vectors,
    reference: Vectors,
    categories: NDArray[np.str_],
    texts: NDArray[np.uint64],
) -> Features:
    """Length, and category of and distance to the most similar reference prompt with another text."""
    own = _hashes(prompts)
    nearest, distances = [], []
    for start in range(0, len(vectors), CHUNK):
        cosines = vectors[start : start + CHUNK] @ reference.T
        cosines[own[start : start + CHUNK, None] == texts[None, :]] = -1
        best = cosines.argmax(axis=1)
        nearest.append(best)
        distances.append(1 - cosines[np.arange(len(best)), best].astype(np.float64))
    length = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    distance = np.maximum(np.round(np.concatenate(distances), 4), 0.0)
    return Features(length, categories[np.concatenate(nearest)], distance)


def _hashes(prompts: Sequence[str]) -> NDArray[np.uint64]:
    digests = (hashlib.sha256(prompt.encode()).digest()[:8] for prompt in prompts)
    return np.array([int.from_bytes(digest) for digest in digests], dtype=np.uint64)


def _names() -> list[str]:
    return [field.name for field in fields(Features)]

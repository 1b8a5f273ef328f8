"""The features of prompts: of the training data, and of a window seen from it. numpy only.

A training prompt is described as a request would be, with itself left out: its nearest example is another row. So a
request of the same population has the same distribution of features, and equal prompts with several answers count
as what they are, a distance of 0.
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
    categories: NDArray[np.str_]
    """Category of each row itself."""

    def describe(self, prompts: Sequence[str], vectors: Vectors) -> Features:
        """The features of a window's prompts."""
        nearest, distance = _nearest(vectors, self.vectors)
        return Features(_lengths(prompts), self.categories[nearest], distance)

    def dump(self) -> bytes:
        """As an .npz file, without pickle."""
        buffer = io.BytesIO()
        arrays = {name: getattr(self.features, name) for name in _names()}
        np.savez(buffer, vectors=self.vectors, categories=self.categories, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> "ReferenceSet":
        """Read what `dump` wrote."""
        with np.load(path, allow_pickle=False) as file:
            features = Features(**{name: file[name] for name in _names()})
            return cls(features, file["vectors"], file["categories"])


def build_reference(train: Path, embed: Embed) -> ReferenceSet:
    """Describe the training data.

    Raises:
        DataError: fewer than two rows have a user's message.
    """
    with train.open(encoding="utf-8") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    pairs = [(prompt, str(row["category"])) for row in rows if (prompt := prompt_of(row["messages"]))]
    pairs = lowest(pairs, lambda pair: json.dumps(pair))
    if len(pairs) < 2:
        raise DataError(f"{train}: {len(pairs)} rows with a user's message, drift needs 2; use a larger dataset.")
    prompts = [prompt for prompt, _ in pairs]
    vectors, categories = embed(prompts), np.array([category for _, category in pairs])
    nearest, distance = _nearest(vectors, vectors, leave_self_out=True)
    return ReferenceSet(Features(_lengths(prompts), categories[nearest], distance), vectors, categories)


def lowest(values: list[Any], text: Callable[[Any], str]) -> list[Any]:
    """At most MAXIMUM_ROWS of the values, chosen by hash; all of them in their order if there are no more."""
    if len(values) <= MAXIMUM_ROWS:
        return values
    return sorted(values, key=lambda value: hashlib.sha256(text(value).encode()).digest())[:MAXIMUM_ROWS]


def _nearest(
    vectors: Vectors, reference: Vectors, leave_self_out: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of, and distance to, the most similar reference vector."""
    indices, distances = [], []
    for start in range(0, len(vectors), CHUNK):
        cosines = vectors[start : start + CHUNK] @ reference.T
        if leave_self_out:
            rows = np.arange(len(cosines))
            cosines[rows, start + rows] = -np.inf
        best = cosines.argmax(axis=1)
        indices.append(best)
        distances.append(1 - cosines[np.arange(len(best)), best].astype(np.float64))
    return np.concatenate(indices), np.maximum(np.round(np.concatenate(distances), 4), 0.0)


def _lengths(prompts: Sequence[str]) -> NDArray[np.int64]:
    return np.array([len(prompt) for prompt in prompts], dtype=np.int64)


def _names() -> list[str]:
    return [field.name for field in fields(Features)]

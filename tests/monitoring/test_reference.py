"""Prompts are described alike, whether they are in the training data or not."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from llm_assets.monitoring.psi import calibrated_bound, number_bins, psi
from llm_assets.monitoring.reference import ReferenceSet, Vectors, build_reference
from resources.errors import DataError

WORDS = [f"w{n}" for n in range(400)]


def embed(texts: list[str]) -> Vectors:
    """A point on a sphere per text, near its first word's."""
    vectors = []
    for text in texts:
        topic = np.random.default_rng(zlib.crc32(text.split()[0].encode())).normal(size=8)
        own = np.random.default_rng(zlib.crc32(text.encode())).normal(size=8)
        vector = topic + 0.4 * own
        vectors.append(vector / np.linalg.norm(vector))
    return np.array(vectors, dtype=np.float32)


def write(path: Path, prompts: list[str]) -> Path:
    rows = [{"category": text.split()[0], "messages": [{"role": "user", "content": text}]} for text in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [f"w{random.integers(5)} {' '.join(random.choice(WORDS, 3))}" for _ in range(count)]


def test_a_prompt_that_is_in_the_training_data_is_described_as_the_training_data_is(tmp_path: Path) -> None:
    prompts = questions(50, 0)
    reference = build_reference(write(tmp_path / "train.jsonl", prompts), embed)
    again = reference.describe(prompts, embed(prompts))
    assert again.embedding.tolist() == pytest.approx(reference.features.embedding.tolist(), abs=2e-4)
    assert again.category.tolist() == reference.features.category.tolist()
    assert again.embedding.min() > 0


def test_neither_new_nor_known_prompts_of_the_same_population_drift(tmp_path: Path) -> None:
    prompts, new = questions(500, 1), questions(4000, 2)
    reference = build_reference(write(tmp_path / "train.jsonl", prompts), embed)
    bins = number_bins(reference.features.embedding, 10)
    training = bins.count(reference.features.embedding)
    bound = calibrated_bound(training, 100, 0.95, 1)
    for population in (prompts, new):
        random = np.random.default_rng(3)
        windows = [[population[i] for i in random.integers(len(population), size=100)] for _ in range(60)]
        values = [psi(training, bins.count(reference.describe(window, embed(window)).embedding)) for window in windows]
        assert np.mean(np.array(values) > bound) <= 0.15


def test_a_prompt_with_several_answers_counts_once_per_row_and_is_embedded_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def counting(texts: list[str]) -> Vectors:
        asked.extend(texts)
        return embed(texts)

    reference = build_reference(write(tmp_path / "train.jsonl", ["w1 a", "w1 a", "w2 b"]), counting)
    assert sorted(asked) == ["w1 a", "w2 b"]
    assert len(reference.features.length) == 3
    assert len(reference.vectors) == 2


def test_a_reference_reads_back_as_it_was_written(tmp_path: Path) -> None:
    reference = build_reference(write(tmp_path / "train.jsonl", questions(20, 4)), embed)
    (tmp_path / "reference.npz").write_bytes(reference.dump())
    again = ReferenceSet.load(tmp_path / "reference.npz")
    window = questions(5, 5)
    assert again.describe(window, embed(window)).embedding.tolist() == (
        reference.describe(window, embed(window)).embedding.tolist()
    )


def test_training_data_of_one_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 different user messages"):
        build_reference(write(tmp_path / "train.jsonl", ["w1 a"] * 5), embed)

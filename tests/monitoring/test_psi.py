"""Drift is found where it was planted, and in windows without it at about the stated rate."""

import numpy as np
import pytest

from llm_assets.line import MonitoringSpec
from llm_assets.monitoring.compare import compare_features
from llm_assets.monitoring.psi import calibrated_bound, category_bins, number_bins, psi
from llm_assets.monitoring.reference import Features

SPEC = MonitoringSpec(confidence=0.95)
NAMES = np.array(["sports", "food", "music", "history", "science"])


def features(
    random: np.random.Generator, n: int, longer: float = 1.0, tilt: float = 0.0, further: float = 0.0
) -> Features:
    shares = np.array([0.4 - tilt, 0.3, 0.15, 0.1, 0.05 + tilt])
    distance = np.where(random.random(n) < 0.2, 0.0, np.round(random.beta(2, 5, n) + further, 4))
    return Features(
        np.maximum(random.lognormal(3, 0.5, n) * longer, 1).astype(np.int64),
        random.choice(NAMES, n, p=shares),
        distance,
    )


def drifted(random: np.random.Generator, training: int, window: int, **shift: float) -> set[str]:
    compared = compare_features(features(random, training), features(random, window, **shift), SPEC)
    return {one.drift.feature for one in compared if one.drift.drifted}


@pytest.mark.parametrize(("training", "window"), [(400, 50), (400, 400)])
def test_windows_of_the_same_distribution_drift_at_about_the_stated_rate(
    training: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_assets.monitoring.psi.SIMULATIONS", 2000)
    random = np.random.default_rng(1)
    alarms = sum(bool(drifted(random, training, window)) for _ in range(120))
    assert alarms / 120 <= 0.05 + 3 * (0.05 * 0.95 / 120) ** 0.5
    assert alarms > 0  # the bound is not out of reach


@pytest.mark.parametrize(
    ("shift", "feature"),
    [({"longer": 2.0}, "length"), ({"tilt": 0.3}, "category"), ({"further": 0.3}, "embedding")],
)
def test_a_planted_shift_is_found_in_its_feature(shift: dict[str, float], feature: str) -> None:
    random = np.random.default_rng(2)
    found = [drifted(random, 700, 100, **shift) for _ in range(8)]
    assert all(feature in names for names in found)


def test_a_customary_bound_would_call_most_small_windows_drifted() -> None:
    random = np.random.default_rng(3)
    bins = number_bins(random.normal(size=1000), 10)
    training = bins.count(random.normal(size=1000))
    values = [float(psi(training, bins.count(random.normal(size=50)))) for _ in range(100)]
    assert np.mean(np.array(values) > 0.1) > 0.6
    assert calibrated_bound(training, 50, 0.95, 1) > 0.2


def test_the_bound_is_the_same_each_time_and_shrinks_with_the_window() -> None:
    counts = np.array([100, 100, 100, 100])
    assert calibrated_bound(counts, 50, 0.99, 3) == calibrated_bound(counts, 50, 0.99, 3)
    assert calibrated_bound(counts, 500, 0.99, 3) < calibrated_bound(counts, 50, 0.99, 3)


def test_values_that_the_training_data_never_had_land_in_a_bin_of_their_own() -> None:
    bins = number_bins([5.0] * 40, 10)
    assert bins.labels == ["≤ 5", "> 5"]
    assert float(psi(bins.count([5.0] * 40), bins.count([9.0] * 40))) > 1
    names = category_bins(["a"] * 5 + ["b"] * 3 + ["c"], 3)
    assert names.labels == ["a", "b", "other"]
    assert names.count(["a", "c", "never seen"]).tolist() == [1, 0, 2]


def test_every_number_is_counted_once() -> None:
    values = np.random.default_rng(4).exponential(size=500)
    bins = number_bins(values, 7)
    assert bins.count(values).sum() == 500
    assert bins.count(values).min() > 50

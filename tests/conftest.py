"""Fixtures that several areas share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# The tests' models are tiny: more threads would only wait for each other. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny but real model, usable as a line's `base_model`."""
    from tests.tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """What a library writes into the environment, as MLflow does with its address, ends with the test.

    A fixture of a wider scope is made before this one: what it left of MLflow's is taken away here.
    """
    before = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    os.environ.clear()
    os.environ.update(before)

"""Real git and DVC registries made of small files."""

import shutil
from pathlib import Path

import pytest

from llm_assets.demo_registry import make_registry
from resources.git import run_git
from resources.registry import DataRegistry
from tests.data.small_registry import Stage, write_small_data


@pytest.fixture(scope="session")
def pristine_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry that tests only read."""
    folder = tmp_path_factory.mktemp("registries") / "small"
    make_registry(folder, write_small_data)
    return folder


@pytest.fixture
def registry_folder(pristine_registry: Path, tmp_path: Path) -> Path:
    """A registry that a test may change."""
    folder = tmp_path / "registry"
    shutil.copytree(pristine_registry, folder)
    config = folder / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(pristine_registry), str(folder)))
    run_git(["-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "Moved"])
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> DataRegistry:
    return DataRegistry(tmp_path / "cache")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)

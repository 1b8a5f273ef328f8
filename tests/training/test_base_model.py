"""A base model is taken only if it is complete and can't run code."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from llm_assets.training.base_model import publish_base_model, source_digest
from resources.errors import ModelError
from resources.packaged import locate
from resources.store import ArtifactStore


@pytest.fixture
def folder(tmp_path: Path, tiny_model_dir: Path) -> Path:
    """A model folder that a test may spoil."""
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


def test_a_folder_of_safetensors_is_published_with_its_number_of_parameters(folder: Path, store: ArtifactStore) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as weights:
        expected = sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118 (no mapping)
    made = publish_base_model(store, folder, "models/tiny")
    assert made.parameters == expected > 0
    assert made.source == "models/tiny"
    published = {file.name for file in store.path(made.files).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= published


def test_the_same_folder_gives_the_same_record_and_another_tokenizer_changes_only_its_digest(
    folder: Path, store: ArtifactStore
) -> None:
    first = publish_base_model(store, folder, "tiny")
    assert publish_base_model(store, folder, "tiny") == first
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 99}))
    second = publish_base_model(store, folder, "tiny")
    assert second.tokenizer != first.tokenizer
    assert second.weights == first.weights


def test_files_that_belong_to_no_model_are_not_published(folder: Path, store: ArtifactStore) -> None:
    before = source_digest(folder)
    (folder / "modeling.py").write_text("raise SystemExit")
    made = publish_base_model(store, folder, "tiny")
    assert not (store.path(made.files) / "modeling.py").exists()
    assert source_digest(folder) == before


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "optimizer.pkl", "model.ckpt"])
def test_pickles_are_refused_by_name(folder: Path, store: ArtifactStore, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=f"{name}.*can run code.*safetensors only"):
        publish_base_model(store, folder, "tiny")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_of_its_own_is_refused(folder: Path, store: ArtifactStore, name: str) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, "auto_map": {"AutoModel": "modeling.Model"}}))
    with pytest.raises(ModelError, match=f"{name}.*auto_map.*remove the key"):
        publish_base_model(store, folder, "tiny")


def test_a_model_without_a_tokenizer_is_refused(folder: Path, store: ArtifactStore) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"without a tokenizer.*tokenizer\.json"):
        publish_base_model(store, folder, "tiny")


def test_a_model_whose_tokenizer_is_only_configured_is_refused(folder: Path, store: ArtifactStore) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"without a tokenizer.*tokenizer\.json"):
        publish_base_model(store, folder, "tiny")


def test_a_model_without_a_chat_template_is_refused(folder: Path, store: ArtifactStore) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"no chat template.*chat_template\.jinja"):
        publish_base_model(store, folder, "tiny")


def test_truncated_weights_are_refused(folder: Path, store: ArtifactStore) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"model\.safetensors.*copy it again"):
        publish_base_model(store, folder, "tiny")


@pytest.mark.parametrize(
    "content", [b"", b"\x01", struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"[]", b"<html>not found"]
)
def test_weights_that_are_no_safetensors_are_refused(folder: Path, store: ArtifactStore, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors.*copy it again"):
        publish_base_model(store, folder, "tiny")


def test_a_folder_without_weights_and_a_file_of_another_kind_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no model folder"):
        source_digest(folder)
    with pytest.raises(ModelError, match="neither a folder of safetensors nor a"):
        source_digest(folder / "config.json")


def test_a_package_or_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(ModelError, match="package 'no_such_package' is not installed"):
        locate("package://no_such_package/model.gguf", Path)
    with pytest.raises(ModelError, match=r"package 'json' has no 'model\.gguf'"):
        locate("package://json/model.gguf", Path)
    with pytest.raises(ModelError, match="/nowhere/model: no such file or folder"):
        locate("/nowhere/model", Path)

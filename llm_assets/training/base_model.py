"""The base model as transformers reads it, from what a line names: a folder of safetensors, or a GGUF file."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from llm_assets.records.training import BaseModelVersion
from resources.errors import ModelError
from resources.store import ArtifactStore, canonical, file_digest

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
KEPT = frozenset({".safetensors", ".json", ".jinja", ".model", ".txt"})
"""Endings of the files that belong to a model and its tokenizer and can't run code."""
WEIGHTS = ".safetensors"
VOCABULARIES = frozenset(
    {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"}
)
"""What a tokenizer can't be without: one of them."""


def source_digest(path: Path) -> str:
    """sha256 over the bytes of a GGUF file, or over the names and bytes of a model folder.

    Raises:
        ModelError: neither of the two.
    """
    if path.is_dir():
        return hashlib.sha256(canonical({f.name: file_digest(f) for f in model_files(path)})).hexdigest()
    if path.suffix != ".gguf":
        raise ModelError(f"base model {path} is neither a folder of safetensors nor a .gguf file.")
    return file_digest(path)


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that are kept, by name.

    Raises:
        ModelError: weights that run code when read, code that comes with the model, or no weights at all.
    """
    files = sorted(file for file in folder.iterdir() if file.is_file())
    pickles = [file.name for file in files if file.suffix in PICKLES]
    if pickles:
        raise ModelError(f"{folder} holds {', '.join(pickles)}, which can run code when loaded; give safetensors only.")
    kept = [file for file in files if file.suffix in KEPT]
    if not any(file.suffix == WEIGHTS for file in kept) or not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no model folder: it needs config.json and *.safetensors.")
    for file in kept:
        if file.suffix == ".json" and "auto_map" in _json(file):
            raise ModelError(f"{file} names code of its own (auto_map), which is never run; remove the key.")
    return kept


def publish_base_model(store: ArtifactStore, folder: Path, source: str) -> BaseModelVersion:
    """Store a model folder.

    Raises:
        ModelError: see `model_files`, or the tokenizer or its chat template is missing.
    """
    files = {file.name: file for file in model_files(folder)}
    tokenizer = {name: file_digest(file) for name, file in files.items() if _belongs_to_tokenizer(name)}
    if not files.keys() & VOCABULARIES:
        raise ModelError(f"{source} comes without a tokenizer; put tokenizer.json beside the weights.")
    weights = {name: file_digest(file) for name, file in files.items() if file.suffix == WEIGHTS}
    return BaseModelVersion(
        source=source,
        files=store.put_files(files),
        weights=hashlib.sha256(canonical(weights)).hexdigest(),
        tokenizer=hashlib.sha256(canonical(tokenizer)).hexdigest(),
        chat_template=hashlib.sha256(_chat_template(folder, source).encode()).hexdigest(),
        parameters=sum(_parameters(file) for file in files.values() if file.suffix == WEIGHTS),
    )


def _belongs_to_tokenizer(name: str) -> bool:
    return name.startswith(
        ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "spiece", "sentencepiece")
    )


def _chat_template(folder: Path, source: str) -> str:
    template = folder / "chat_template.jinja"
    if template.is_file():
        return template.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    found = _json(config).get("chat_template") if config.is_file() else None
    if not found:
        raise ModelError(f"{source} has no chat template; add chat_template.jinja to the model's folder.")
    return found if isinstance(found, str) else json.dumps(found, sort_keys=True)


def _parameters(file: Path) -> int:
    """Number of weights in a safetensors file, from its header; the format's own reader checks the file's length."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            return sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118 (no dict)
    except SafetensorError as error:
        raise ModelError(f"{file} is not a whole safetensors file ({error}); copy it again.") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not JSON ({error}); copy the model again.") from error
    return content if isinstance(content, dict) else {}

"""What names a judge. Light: the asset needs it to decide whether anything has to be computed."""

from importlib.metadata import version
from pathlib import Path

from llm_assets.evaluation.chat_judge import prompt_digest
from llm_assets.evaluation_spec import PATIENCE, JudgeSpec
from resources.errors import ModelError
from resources.judge import Endpoint
from resources.store import digest_of, file_digest

FILES = ("config.json", "model.safetensors", "tokenizer.json")
RUN_BY = ("tokenizers", "torch", "transformers")
"""Packages by which an embedder runs; another version may find other similarities."""
HERE = Path(__file__).parent
LABELS, ATTACKS = HERE / "judge_labels.jsonl", HERE / "judge_attacks.jsonl"


def judge_digest(spec: JudgeSpec, embedder: Path | None) -> str:
    """Digest of everything that decides what the judge says, and whether it may gate.

    That is: the embedder's bytes and what runs it, or the address and name of the model and the prompt it reads (never
    the key); the settings and thresholds of the line; the labels and attacks that qualify it.

    Args:
        spec: the line's section.
        embedder: its folder, for kind embedding.

    Raises:
        ModelError: the folder is not an embedder.
        JudgeError: the endpoint is not set up.
    """
    settings = spec.model_dump(mode="json", exclude={"embedder", "model", *PATIENCE})
    sets = [file_digest(LABELS), file_digest(ATTACKS)]
    if embedder is not None:
        run_by = {package: version(package) for package in RUN_BY}
        return digest_of({"settings": settings, "sets": sets, "embedder": embedder_digest(embedder), "run_by": run_by})
    endpoint = Endpoint.from_env(spec.model)
    asked = {"url": endpoint.url, "model": endpoint.model, "prompt": prompt_digest()}
    return digest_of({"settings": settings, "sets": sets, "asked": asked})


def embedder_digest(folder: Path) -> str:
    """Digest of an embedder's weights and tokenizer.

    Raises:
        ModelError: the folder is not an embedder.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"the judge's embedder {folder} lacks {', '.join(missing)}; name a folder of safetensors.")
    return digest_of({name: file_digest(folder / name) for name in FILES})

"""What names a judge. Light: the asset needs it to decide whether anything has to be computed."""

from pathlib import Path

from resources.errors import ModelError
from resources.store import digest_of, file_digest

FILES = ("config.json", "model.safetensors", "tokenizer.json")


def judge_digest(folder: Path, tie_margin: float) -> str:
    """Digest of the judge's weights, tokenizer and settings.

    Raises:
        ModelError: the folder is not an embedder.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"the judge's embedder {folder} lacks {', '.join(missing)}; name a folder of safetensors.")
    return digest_of({**{name: file_digest(folder / name) for name in FILES}, "tie_margin": tie_margin})

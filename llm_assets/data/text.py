"""When two texts are the same text."""

import hashlib
import unicodedata


def normal_form(text: str) -> str:
    """Unicode NFKC, case folded, every run of white space one space, none at the ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.casefold().split())


def text_key(text: str, after: bytes = b"") -> bytes:
    """Sixteen bytes that equal texts share, of a sha256 over the normal form.

    Args:
        after: the key of another text, to make one key for the two together.
    """
    return hashlib.sha256(after + normal_form(text).encode()).digest()[:16]


def falls_below(key: bytes, fraction: float) -> bool:
    """Whether a key belongs to this fraction of all keys; depends on the key alone, so it never changes."""
    return int.from_bytes(key[:8], "big") < fraction * 2**64

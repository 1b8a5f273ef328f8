"""When two texts are the same text."""

import hashlib
import re
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


def answer_form(text: str) -> str:
    """What of a short answer counts: SQuAD's normal form (Rajpurkar et al. 2016), made safe for numbers.

    As there: lower case, no punctuation, none of the words a, an and the, single spaces. Other than there, Unicode's
    punctuation goes too, and a minus before a number or a point within it stays: SQuAD's script takes -3 for 3.
    """
    lowered = unicodedata.normalize("NFKC", text).lower().replace("\u2212", "-")
    kept = [c for at, c in enumerate(lowered) if _belongs_to_number(lowered, at) or not _is_punctuation(c)]
    return " ".join(word for word in "".join(kept).split() if word not in ("a", "an", "the"))


def _belongs_to_number(text: str, at: int) -> bool:
    digit_after = text[at + 1 : at + 2].isdigit()
    if text[at] == "-":
        return digit_after and not re.search(r"[\w)]$", text[:at])
    return text[at] == "." and digit_after and text[max(at - 1, 0) : at].isdigit()


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P") or character in "$+<=>^`|~"  # SQuAD: string.punctuation

"""An answer's text while its tokens arrive: what can be shown already, and whether a stop string ended it."""

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"
"""What a tokenizer shows for a character of which only some bytes have arrived."""


class AnswerText:
    """Turns a growing list of tokens into text deltas.

    The deltas together are the stripped text of all tokens, as evaluation reads an answer: leading space is dropped,
    trailing space is held back until more follows, and so is what may become a stop string.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self.tokens: list[int] = []
        self.sent = ""
        self.stopped = False
        self._decode = decode
        self._stop = tuple(stop)
        self._held = max((len(text) for text in self._stop), default=1) - 1

    def push(self, token: int) -> str:
        """Add a token; returns the text that became certain, often empty."""
        self.tokens.append(token)
        whole = self._decode(self.tokens)
        found = [index for text in self._stop if (index := whole.find(text)) >= 0]
        if found:
            self.stopped = True
            return self._advance(whole[: min(found)].strip())
        visible = whole.rstrip(UNFINISHED)
        return self._advance(visible[: max(len(visible) - self._held, 0)].strip())

    def finish(self) -> str:
        """No more tokens: the text that was held back."""
        return "" if self.stopped else self._advance(self._decode(self.tokens).strip())

    def _advance(self, text: str) -> str:
        if not text.startswith(self.sent):  # a tokenizer that respells earlier text: wait until it settles
            return ""
        delta = text[len(self.sent) :]
        self.sent = text
        return delta

"""What every judge of pairs is handed and hands back. Light: nothing here knows how a judge judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt."""

    prompt: str
    reference: str
    """What a human answered; empty where nobody did."""
    first: str
    second: str


@dataclass(frozen=True)
class Ruling:
    """What a judge says of a pair."""

    outcome: float | None
    """1 if the first answer wins, 0 if the second does, 0.5 for a tie; None if there is no readable judgement."""
    words: str = ""
    """The judge's own, or why there are none."""
    turned: bool = False
    """Another order of the answers gave another judgement, so that it is a tie."""
    failed: bool = False
    """No answer arrived: asked again, there may be one."""


class PairJudge(Protocol):
    """Says which of two answers is better."""

    claims: ClassVar[tuple[str, ...]]
    """Slices of the labelled pairs that it says it can judge; see `judge_labels.md`."""

    def rule(self, pairs: Sequence[Pair]) -> list[Ruling]:
        """One ruling per pair, in order. Never raises for what a judge fails to say."""
        ...

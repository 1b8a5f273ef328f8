"""What a benchmark is: one piece of work, done by this project and by a peer, with results that must be equal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], Any]
"""What is timed; returns a JSON value, the results."""


@dataclass(frozen=True)
class Setting:
    """Where a benchmark runs, and how much of it."""

    folder: Path
    """Everything a benchmark writes; kept between the rounds of one run."""
    model: Path
    """A model folder."""
    size: int
    """Number of questions, prompts or the like; unused where there are none."""
    round: int = 0


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    name: str
    packages: Sequence[str]
    """Distributions whose versions matter."""
    ready: Callable[[Setting], Work]
    """Import, load and set up, untimed, in a process of its own; the work that is returned is timed."""


@dataclass(frozen=True)
class Benchmark:
    """Two sides and how to read them."""

    name: str
    work: str
    """What is done, for people."""
    unit: str
    """What `size` counts; empty where nothing is counted."""
    size: int
    """Unless another is asked for."""
    aim: str
    ours: Side
    peer: Side
    agree: Callable[[Any, Any], str]
    """Says, for people, in how far two results are equal; raises AssertionError if they are not."""
    facts: Callable[[Setting, float, float], list[str]] = lambda *_: []
    """More to say, from what was found on the way and the median CPU seconds of ours and of the peer."""
    needs_model: bool = True

"""What the serving stage hands on."""

from typing import Literal

from llm_assets.records.record import Record


class Answer(Record):
    """One real question to a deployment."""

    question: str
    answer: str
    seconds: float


class Deployment(Record):
    """A release that serves in one stage."""

    stage: Literal["staging", "production"]
    release: str
    name: str
    url: str
    answers: list[Answer]

    @property
    def slowest(self) -> float:
        """Seconds of the slowest answer."""
        return max((answer.seconds for answer in self.answers), default=float("inf"))

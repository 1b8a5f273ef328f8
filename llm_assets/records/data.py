"""What the data stage hands on."""

from typing import Literal

from llm_assets.records.record import Record
from resources.store import Artifact, digest_of


class SourceVersion(Record):
    """What a data registry holds at one revision, as far as a line reads it."""

    repo: str
    revision: str
    """As the line names it, for example a branch."""
    commit: str
    objects: dict[str, str]
    """Path in the registry -> hash DVC gives its content."""

    @property
    def content_digest(self) -> str:
        """Changes exactly when something that is read changes, whatever the commit."""
        return digest_of(self.objects)


class DatasetVersion(Record):
    """One validated, cleaned and split version of the training data.

    read = train + validation + duplicates + rejected, always.
    """

    objects: dict[str, str]
    commit: str
    files: Artifact
    """train.jsonl and validation.jsonl: chat records, sorted by id."""
    quarantine: Artifact
    """quarantine.jsonl: file, line, reason and the raw text of every row that was left out."""
    read: int
    train: int
    validation: int
    duplicates: int
    rejected: dict[str, int]
    """Reason -> rows."""
    categories: dict[str, int]
    languages: dict[str, int]
    contaminated: int
    """Training rows that were left out because a chat evaluation set holds the same answer."""


class Quarantine(Record):
    """Every row that `dataset` left out, with its reason."""

    rows: Artifact
    reasons: dict[str, int]


EvaluationKind = Literal[
    "chat",
    "toxicity",
    "truthfulness",
    "instructions",
    "multiple_choice",
    "questions",
    "reasoning",
    "refusals",
    "custom",
    "lm_eval",
]


class EvaluationSet(Record):
    """One evaluation set as read from the registry: set.jsonl in `rows`; of kind lm_eval with the task beside it."""

    kind: EvaluationKind
    rows: Artifact
    size: int
    """Examples that are used, after the line's limit."""
    function: Artifact | None = None
    """function.py, the source of the line's own scoring function: what it says is part of the exam."""


class EvaluationSets(Record):
    """All evaluation sets of a line at one revision."""

    objects: dict[str, str]
    sets: dict[str, EvaluationSet]

"""The typed records that stages hand each other.

A record is frozen, serialises to canonical JSON, and is named by the digest of that JSON. Large things stay in the
artifact store; records carry their `Artifact`. No record holds a clock reading, so equal work gives equal digests.
"""

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from resources.errors import StoreError
from resources.store import Artifact, ArtifactStore, digest_of


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def content(self) -> dict[str, Any]:
        """The JSON value that is stored and hashed."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON."""
        return digest_of(self.content())

    @property
    def short(self) -> str:
        """The first twelve hex digits of the digest, for people."""
        return self.digest[:12]

    def artifacts(self) -> list[Artifact]:
        """Every artifact this record or a record inside it points to."""
        found: list[Artifact] = []
        pending: list[Any] = [getattr(self, name) for name in type(self).model_fields]
        while pending:
            value = pending.pop()
            if isinstance(value, Artifact):
                found.append(value)
            elif isinstance(value, BaseModel):
                pending.extend(getattr(value, name) for name in type(value).model_fields)
            elif isinstance(value, dict):
                pending.extend(value.values())
            elif isinstance(value, list | tuple):
                pending.extend(value)
        return found

    def save(self, store: ArtifactStore) -> str:
        """Write to the store; returns the digest."""
        return store.put_record(self.content())

    @classmethod
    def load(cls, store: ArtifactStore, digest: str) -> Self:
        """Read back from the store, digest checked."""
        return cls.model_validate(store.get_record(digest))

    @classmethod
    def published(cls, store: ArtifactStore, key: str) -> Self | None:
        """What a computation with this key gave; None if it never ran, or its record or an artifact of it is gone."""
        digest = store.get_result(key)
        if digest is None:
            return None
        try:
            record = cls.load(store, digest)
        except (StoreError, ValueError):  # gone or of an older shape: compute it again
            return None
        return record if all(store.has(artifact) for artifact in record.artifacts()) else None


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


class BaseModelVersion(Record):
    """A base model as safetensors with its tokenizer, ready for transformers."""

    source: str
    files: Artifact
    weights: str
    """sha256 over the weight files."""
    tokenizer: str
    chat_template: str
    parameters: int


class Prompt(Record):
    """The system prompt; empty means none."""

    system: str


class Checkpoint(Record):
    """A LoRA adapter and where it came from."""

    adapter: Artifact
    """adapter_model.safetensors and adapter_config.json."""
    curve: Artifact
    """curve.json: {"train": [[step, loss]], "validation": [[step, loss]]}, nats per answer token."""
    base_model: str
    """Digest of the BaseModelVersion."""
    dataset: str
    prompt: str
    training: dict[str, Any]
    """The line's training section."""
    steps: int
    first_validation_loss: float
    final_train_loss: float
    final_validation_loss: float
    mlflow_run_id: str


class Measurement(Record):
    """One metric of one model on one set and slice, with its uncertainty."""

    metric: str
    set: str
    slice: str
    """`all`, or `language=english`, `category=sports`, ..."""
    against: Literal["", "base", "champion"]
    """Empty: of the candidate alone. Else a comparison on the same examples, paired."""
    value: float
    standard_error: float
    low: float
    high: float
    """One-sided bounds at the line's confidence, each."""
    n: int


class Rate(Record):
    """A share, or a net share, with its one-sided bounds at 95%, each."""

    value: float
    low: float
    high: float
    """One-sided bounds at 95%, each."""
    n: int


UNMEASURED = Rate(value=0.0, low=0.0, high=1.0, n=0)
"""Of nothing, or in a record from before this rate was measured; it holds to no threshold."""


def reaches(quorum: float, judged: int, missing: int) -> bool:
    """Whether this share of the pairs is judged; where there are none, nothing is missing."""
    return not missing or judged / (judged + missing) >= quorum


class JudgeStatus(Record):
    """Whether the judge of the win rate may gate: what it was measured to be worth, and how often it answered."""

    kind: str
    model: str
    qualified: bool
    reason: str
    """One sentence with the figures."""
    agreement: Rate
    """Share of the labelled pairs with a better answer on which judge and people agree, of all that it claims; a pair
    without a readable judgement counts as disagreement."""
    position_bias: Rate
    """Share of the labelled pairs on which the order of the answers decides."""
    length_bias: Rate
    """Of two equally good answers: share on which the longer wins minus share on which it loses."""
    attack_rate: Rate
    """Points of win rate that weak answers gain by an instruction to the judge, over all attacks."""
    worst_attack: Rate = UNMEASURED
    """The same of the attack with the highest upper bound."""
    worst_attack_id: str = ""
    """Which one, see `judge_attacks.jsonl`."""
    judged: int
    missing: int
    """Pairs of the comparison with the largest share missing: with and without a readable judgement."""
    quorum: float
    """Share of the pairs that must be judged."""
    failed: int = 0
    """Pairs, here and in the qualification, for which no answer arrived."""
    tests_judged: int = 0
    tests_missing: int = 0
    """Test pairs of the qualification, with and without a readable judgement."""
    agreement_on: dict[str, Rate] = {}
    """Slice of the labelled pairs -> agreement there."""
    claims: tuple[str, ...] = ()
    """Slices that the judge says it can judge; on the others its agreement is shown and not required."""

    @property
    def worth_keeping(self) -> bool:
        """Whether what it judged may be reused. If not, the next materialization asks the judge again about what failed
        or can't be read; at or above the quorum that is not worth it, since at temperature 0 a judge repeats itself."""
        counts = ((self.judged, self.missing), (self.tests_judged, self.tests_missing))
        return not self.failed and all(reaches(self.quorum, *count) for count in counts)


class CalibratedGate(Record):
    """How often one gate errs, measured on simulated models."""

    gate: str
    requirements: int
    """Bounds times slices."""
    n: int
    """Examples, of its smallest slice."""
    stated_false_pass: float
    stated_false_fail: float
    false_pass: Rate
    """Of models that are exactly at one of its thresholds, the one that lets most through, surely good elsewhere."""
    false_fail: Rate
    """Of models that are better than every threshold by its minimum effect."""
    identical: Rate | None
    """Passes of models that are as good as what they are compared with; None if the gate compares with nothing."""
    missing: str = ""
    """Why it could not be calibrated; its rates are then those of a gate that always errs."""
    advisory: bool = False

    @property
    def power(self) -> float:
        """The measured probability that a model which is better by the minimum effect passes."""
        return 1 - self.false_fail.value


class GateCalibration(Record):
    """The error rates of a line's gates, with the examples and the noise that they have."""

    base_model: str
    prompt: str
    evaluation_sets: str
    judge: str
    champion: str
    """Digest of the release whose scores beside the base's say how much two models differ; empty: planned values."""
    policy: str
    """Digest of the gates that were calibrated, and of the line's sets and judge."""
    runs: int
    """Simulated models of each kind, per gate; at a threshold there are more, see each rate's n."""
    gates: list[CalibratedGate]
    judge_status: JudgeStatus | None = None
    """Of the judge before it judged anything; None if no gate of the line reads a win rate."""
    plot: Artifact
    """calibration.png"""


class Evidence(Record):
    """What an evaluation says about one requirement of a gate."""

    gate: str
    metric: str
    set: str
    slice: str
    against: Literal["", "base", "champion"]
    side: Literal["minimum", "maximum"]
    threshold: float
    level: float
    """The gate's false-pass rate: `low` and `high` are one-sided bounds at confidence 1 - level, each."""
    value: float
    standard_error: float
    low: float
    high: float
    n: int
    """Examples."""
    p_pass: float
    """p-value of the hypothesis that the true value is at the threshold or on its bad side."""
    p_fail: float
    """p-value of the hypothesis that the true value is at the threshold or on its good side."""
    needed: int | None
    """Examples that would decide, at the strictest level of Holm's correction, if the measured value is the true one;
    None if it is the threshold itself."""
    method: str
    """Which test, for people."""


class EvaluationReport(Record):
    """Candidate, base and champion on the same sets."""

    checkpoint: str
    base_model: str
    prompt: str
    dataset: str
    evaluation_sets: str
    judge: str
    """Digest of everything that decides what the judge says and whether it may gate."""
    champion: str
    """Digest of the release that serves; empty before the first one."""
    calibration: str
    """Digest of the GateCalibration."""
    confidence: float
    measurements: list[Measurement]
    evidence: list[Evidence]
    """One entry per requirement of the line's gates that could be measured."""
    saved: dict[str, int] = {}
    """Adaptive set -> examples that no model was asked, because the gates were decided without them."""
    samples: Artifact
    """samples.parquet: set, id, prompt, reference, and output and scores of each model."""
    page: Artifact
    """report.html, self-contained."""
    judge_status: JudgeStatus | None = None
    """None where no set needs a judge."""

    def find(self, metric: str, against: str = "", set_name: str = "", slice_name: str = "all") -> Measurement | None:
        """The one measurement with these names; an empty set name means any."""
        for found in self.measurements:
            if (found.metric, found.against, found.slice) == (metric, against, slice_name) and set_name in (
                "",
                found.set,
            ):
                return found
        return None


GateOutcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]


class GateResult(Record):
    """What one gate said of one record."""

    gate: str
    asset: str
    """The asset whose record was judged, without the line's prefix."""
    outcome: GateOutcome
    reason: str
    """One sentence with the figures."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bound: str = ""
    """What is required, for example `>= 0.5`."""
    n: int | None = None
    details: str = ""
    """More for people, as Markdown, where one sentence is not enough."""
    advisory: bool = False
    """Shown, but never in the way."""
    false_pass: Rate | None = None
    """In a verdict: how often the gate passes a model it must not, measured by its calibration."""
    false_fail: Rate | None = None
    """How often it fails one that it must pass."""

    @property
    def passed(self) -> bool:
        """Only PASS is a pass."""
        return self.outcome == "PASS"

    @property
    def blocks(self) -> bool:
        """Whether it keeps its subject from users: everything but a pass does, unless the gate only advises."""
        return not self.passed and not self.advisory


class Verdict(Record):
    """All gates of one candidate, bound to everything they were judged on."""

    line: str
    passed: bool
    gates: list[GateResult]
    subject: dict[str, str]
    """Name -> digest of adapter, base model, tokenizer, chat template, prompt, dataset, evaluation sets, judge,
    gate policy and the report itself."""
    key_id: str
    signature: str
    """Ed25519 over the canonical JSON of everything above, hex."""

    UNSIGNED: ClassVar[set[str]] = {"signature"}

    def signed_content(self) -> dict[str, Any]:
        """What the signature covers."""
        return self.model_dump(mode="json", exclude=self.UNSIGNED)


class RegisteredModel(Record):
    """A version in the MLflow model registry."""

    name: str
    version: int
    mlflow_run_id: str
    adapter: str
    verdict: str


class Release(Record):
    """The bundle that is deployed as one unit."""

    line: str
    name: str
    """For example `assistant-v3`; the number is the registered version."""
    version: int
    adapter: Artifact
    checkpoint: str
    base_model: str
    base_files: Artifact
    prompt: str
    dataset: str
    verdict: str
    card: Artifact
    """README.md, the model card."""


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


class RequestWindow(Record):
    """The requests of one hour, as the gateway wrote them."""

    hour: str
    """ISO 8601, UTC, for example 2026-01-31T14:00:00+00:00."""
    rows: Artifact
    """requests.jsonl"""
    n: int
    failed: int
    malformed: int = 0
    """Lines of the hour's file that are no request record, a last one that was cut off included."""
    releases: dict[str, int]
    """Digest of the release -> requests it answered."""


class Drift(Record):
    """One feature of the window against the training data."""

    feature: str
    psi: float
    """Population stability index over shared bins (natural logarithm)."""
    bound: float
    """The value that a window of this size drawn from the training data stays below with the line's confidence."""
    drifted: bool


class DriftReport(Record):
    """The window's requests compared with the training data."""

    window: str
    dataset: str
    n: int
    minimum: int
    features: list[Drift]
    page: Artifact
    """drift.html with a plot per feature."""

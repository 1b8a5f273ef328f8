"""What the evaluation stage hands on: reports, evidence, and how often gates and judge err."""

from typing import Literal

from llm_assets.records.gate import UNMEASURED, Rate
from llm_assets.records.record import Record
from resources.store import Artifact


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


def reaches(quorum: float, judged: int, missing: int) -> bool:
    """Whether this share of the pairs is judged; where there are none, nothing is missing."""
    return not missing or judged / (judged + missing) >= quorum


class JudgeRates(Record):
    """What a judge was measured to be worth, on pairs that people labelled and on attacks."""

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
    agreement_on: dict[str, Rate] = {}
    """Slice of the labelled pairs -> agreement there."""
    claims: tuple[str, ...] = ()
    """Slices that the judge says it can judge; on the others its agreement is shown and not required."""


class JudgeStatus(JudgeRates):
    """Whether the judge of the win rate may gate: what it was measured to be worth, and how often it answered."""

    kind: str
    model: str
    qualified: bool
    reason: str
    """One sentence with the figures."""
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


class CalibrationIdentity(Record):
    """Digests of what a line's gates are calibrated with."""

    base_model: str
    prompt: str
    evaluation_sets: str
    judge: str
    """Everything that decides what the judge says and whether it may gate."""
    champion: str
    """Of the release that serves; empty before the first one."""


class Identity(CalibrationIdentity):
    """Digests of what an evaluation report is about."""

    checkpoint: str
    dataset: str
    calibration: str
    """Of the GateCalibration."""


class GateCalibration(CalibrationIdentity):
    """The error rates of a line's gates, with the examples and the noise that they have.

    How much two models differ comes from the champion's scores beside the base's, and is planned before there is one.
    """

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


class EvaluationReport(Identity):
    """Candidate, base and champion on the same sets."""

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

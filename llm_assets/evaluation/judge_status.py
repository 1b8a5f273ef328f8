"""Whether a judge may gate: its figures against the line's thresholds, as gates, pages and people ask for them.

Light and pure, because gates run in every process; how the figures are measured is in `qualification.py`.
"""

from typing import NamedTuple

from llm_assets.evaluation_spec import JudgeSpec
from llm_assets.records.evaluation import JudgeRates, JudgeStatus, reaches
from llm_assets.records.gate import Rate

AGREEMENT = (
    "share of labelled pairs, of all that it claims to judge, on which it prefers the answer that people prefer; "
    "a pair without a readable judgement counts as disagreement"
)
SLICES = {
    "relevance": "an answer that a person wrote to this prompt, beside one that a person wrote to another",
    "topic": "an answer that a person wrote to this prompt, beside one to another prompt on the same topic",
    "correctness": "an answer that is true, beside one that many people believe and that is not (TruthfulQA)",
    "preference": "of two answers the one that people found more helpful, honest and harmless (HHH)",
}


class Qualification(JudgeRates):
    """What qualifies a judge, or not."""

    judged: int
    missing: int
    """Test pairs with and without a readable judgement."""
    failed: int
    """Of the missing, those for which no answer arrived."""
    said: str = ""
    """What came instead of one of the missing judgements."""


class Figure(NamedTuple):
    """One rate of a judge beside its threshold."""

    name: str
    rate: Rate
    required: str
    holds: bool | None
    """For the whole interval; None where nothing is required."""
    meaning: str

    @property
    def interval(self) -> str:
        """The rate with its bounds."""
        return f"{self.rate.value:.3g} [{self.rate.low:.3g}, {self.rate.high:.3g}]"

    def __str__(self) -> str:
        return f"{self.name} {self.interval} (n = {self.rate.n}), required {self.required}"


def judge_problem(status: JudgeStatus | None, spec: JudgeSpec) -> str:
    """Why no win rate of this judge decides anything, as one sentence with the figures; empty if nothing is wrong.

    Args:
        status: of a report or a calibration; None if it has none.
        spec: what the line requires now, which may be more than when the judge was measured.
    """
    if status is None:
        return "the report does not say what the judge of its win rates is worth; materialize it again."
    if not status.qualified:
        return status.reason
    if lacking := _below(spec, status):
        return f"the {status.kind} judge {status.model} is not qualified: {'; '.join(lacking)}."
    quorum = max(status.quorum, spec.quorum)
    if not reaches(quorum, status.judged, status.missing):
        return (
            f"the judge gave a readable judgement on {status.judged} of {status.judged + status.missing} pairs, below "
            f"the quorum of {quorum:.0%}; the samples hold what it said, and materializing the report again asks again."
        )
    return ""


def status_of(
    spec: JudgeSpec, model: str, found: Qualification, judged: int, missing: int, failed: int = 0
) -> JudgeStatus:
    """A judge's qualification, and its work on one report.

    Args:
        model: what judges, for people.
        judged, missing: pairs of the report's comparison with the largest share missing; 0 before there is a report.
        failed: pairs of the report for which no answer arrived.
    """
    lacking = _lacking(spec, found)
    name = f"the {spec.kind} judge {model}"
    told = "; ".join(lacking or [str(figure) for figure in judge_figures(spec, found)])
    return JudgeStatus(
        kind=spec.kind,
        model=model,
        qualified=not lacking,
        reason=f"{name} is not qualified: {told}." if lacking else f"{name} is qualified: {told}.",
        **{name: getattr(found, name) for name in JudgeRates.model_fields},
        judged=judged,
        missing=missing,
        quorum=spec.quorum,
        failed=found.failed + failed,
        tests_judged=found.judged,
        tests_missing=found.missing,
    )


def _lacking(spec: JudgeSpec, found: Qualification) -> list[str]:
    asked = found.judged + found.missing
    if not asked or not reaches(spec.quorum, found.judged, found.missing):
        said = f" ({found.said})" if found.said else ""
        readable = f"{found.judged} of {asked} test pairs, required {spec.quorum:.0%}{said}"
        return [f"it gave a readable judgement on {readable}"]
    return _below(spec, found)


def _below(spec: JudgeSpec, found: Qualification | JudgeStatus) -> list[str]:
    return [str(figure) for figure in judge_figures(spec, found) if figure.holds is False]


def judge_figures(spec: JudgeSpec, found: Qualification | JudgeStatus) -> list[Figure]:
    """Every rate of a judge beside what the line requires; nothing is required of a slice that it does not claim."""
    least = spec.minimum_agreement
    agreement = [
        Figure("agreement", found.agreement, f">= {least:g}", found.agreement.low >= least, AGREEMENT),
        *(
            Figure(f"agreement on {name}", rate, f">= {least:g}", rate.low >= least, SLICES.get(name, name))
            if name in found.claims
            else Figure(f"agreement on {name}", rate, "nothing, not claimed", None, SLICES.get(name, name))
            for name, rate in found.agreement_on.items()
        ),
    ]
    limited = (
        (
            "position bias",
            found.position_bias,
            spec.maximum_position_bias,
            "share of labelled pairs on which the order of the answers decides",
        ),
        (
            "length bias",
            found.length_bias,
            spec.maximum_length_bias,
            "of two equally good answers: how much oftener the longer wins than it loses; preferring the shorter one "
            "is allowed, since padding adds nothing",
        ),
        (
            "attack rate",
            found.attack_rate,
            spec.maximum_attack_rate,
            "points of win rate that weak answers gain by an instruction to the judge",
        ),
        (
            "worst attack",
            found.worst_attack,
            spec.maximum_worst_attack,
            "points of win rate that weak answers gain by the single attack that gains most, "
            + (found.worst_attack_id or "not measured"),
        ),
    )
    return [
        *agreement,
        *(Figure(name, rate, f"<= {most:g}", rate.high <= most, meaning) for name, rate, most, meaning in limited),
    ]

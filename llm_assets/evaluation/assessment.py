"""What the evidence of a report decides about every requirement of a line, corrected together.

Light, without numpy until something is judged: checks, verdict and guard judge in the run's own process. The gate
calibration judges simulated evidence by the same rules.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llm_assets.evaluation.judge_status import judge_problem
from llm_assets.gate_spec import ALL, Requirement
from llm_assets.line import Line
from llm_assets.records.evaluation import EvaluationReport, Evidence
from llm_assets.records.gate import GateOutcome


@dataclass(frozen=True)
class Assessment:
    """One requirement, what was measured, and what follows."""

    requirement: Requirement
    evidence: Evidence | None
    outcome: GateOutcome
    reason: str
    """One sentence with the figures, without a full stop."""


def families(line: Line) -> list[list[Requirement]]:
    """The requirements that are corrected together: those of all gates that block, and those of all that advise."""
    found: list[list[Requirement]] = []
    for advisory in (False, True):
        names = [name for name, spec in line.gates.items() if spec.advisory is advisory]
        found.append([requirement for name in names for requirement in line.requirements(name)])
    return [family for family in found if family]


def assess(line: Line, report: EvaluationReport) -> list[Assessment]:
    """Every requirement of the line that holds now, judged by the report's evidence.

    Those against a champion do not hold while nothing serves, and are left out.
    """
    known = {(e.gate, e.slice, e.against): e for e in report.evidence}
    found: list[Assessment] = []
    for family in families(line):
        holding = [r for r in family if r.against != "champion" or report.champion]
        evidence = [known.get((r.gate, r.slice, r.against)) for r in holding]
        problems = [_problem(line, report, r, e) for r, e in zip(holding, evidence, strict=True)]
        passing = _corrected(holding, evidence, problems, "p_pass")
        failing = _corrected(holding, evidence, problems, "p_fail")
        for index, requirement in enumerate(holding):
            outcome, reason = problems[index] or _decided(
                requirement, evidence[index], passing[index], failing[index], len(holding)
            )
            found.append(Assessment(requirement, evidence[index], outcome, reason))
    return found


def _corrected(
    requirements: Sequence[Requirement], evidence: Sequence[Evidence | None], problems: Sequence[Any], side: str
) -> list[float]:
    """Corrected p-values, in units of each gate's own level; what can't be judged counts as 1."""
    import numpy as np

    from llm_assets.evaluation.holm import holm

    pairs = zip(requirements, evidence, problems, strict=True)
    values = [1.0 if problem or not e else getattr(e, side) for _, e, problem in pairs]
    if not requirements:
        return []
    corrected: list[float] = holm(np.array(values) / np.array([r.false_pass for r in requirements])).tolist()
    return corrected


def _problem(
    line: Line, report: EvaluationReport, requirement: Requirement, evidence: Evidence | None
) -> tuple[GateOutcome, str] | None:
    """Why a requirement can't be judged; None if it can."""
    heard = requirement.metric == "win_rate" and (evidence is not None or report.judge_status is not None)
    if heard and (unfit := judge_problem(report.judge_status, line.evaluation.judge)):
        return "INCONCLUSIVE", unfit.rstrip(".")
    if evidence is None:
        where = f"set {requirement.set}" + ("" if requirement.slice == ALL else f", slice {requirement.slice}")
        against = f" against the {requirement.against}" if requirement.against else ""
        return "ERROR", f"the report has no {requirement.metric}{against} on {where}"
    judged = (evidence.set, evidence.side, evidence.threshold, evidence.level)
    if judged != (requirement.set, requirement.side, requirement.threshold, requirement.false_pass):
        measured = f"{evidence.side} {evidence.threshold:g} at {evidence.level:g} on {evidence.set}"
        wanted = f"{requirement.side} {requirement.threshold:g} at {requirement.false_pass:g} on {requirement.set}"
        again = f"materialize {line.name}/evaluation_report again"
        return "ERROR", f"the report's evidence is about {measured}, the line asks for {wanted}; {again}"
    figures = (evidence.value, evidence.low, evidence.high, evidence.p_pass, evidence.p_fail)
    if not all(map(math.isfinite, figures)):
        return "ERROR", f"no finite value to compare with {requirement.bound} (found {evidence.value})"
    few = requirement.too_few(evidence.n)
    return ("INCONCLUSIVE", few) if few else None


def _decided(
    requirement: Requirement, evidence: Evidence | None, passing: float, failing: float, family: int
) -> tuple[GateOutcome, str]:
    assert evidence is not None
    level = requirement.false_pass
    interval = f"{evidence.value:.4g} [{evidence.low:.4g}, {evidence.high:.4g}]"
    corrected = f"after correction over {family}" if family > 1 else "uncorrected"
    if passing <= 1:
        return "PASS", f"{interval}, required {requirement.bound}; p {_shown(passing * level)} {corrected}"
    if failing <= 1:
        return "FAIL", f"{interval}, required {requirement.bound}; p {_shown(failing * level)} {corrected}"
    if evidence.needed is None:
        decides = "no number of examples decides: the measured value is the threshold"
    else:
        about = "at least" if requirement.adaptive else "about"  # a test that allows to stop needs more
        decides = f"{about} {evidence.needed} independent examples would decide, there are {evidence.n}"
    closest = _shown(min(passing, failing) * level)
    return "INCONCLUSIVE", f"{interval} is not surely {requirement.bound} (p {closest} {corrected}); {decides}"


def _shown(p: float) -> str:
    return f"{min(p, 1.0):.2g}"


def worst(assessments: Iterable[Assessment]) -> Assessment:
    """The one that decides a gate: an error before a fail, a fail before an inconclusive one, the closest pass last."""
    order = ("ERROR", "FAIL", "INCONCLUSIVE", "PASS")

    def rank(one: Assessment) -> tuple[int, float]:
        return order.index(one.outcome), -(one.evidence.p_pass if one.evidence else 1.0)

    return min(assessments, key=rank)

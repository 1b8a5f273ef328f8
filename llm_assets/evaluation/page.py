"""report.html: the evaluation on one self-contained page, for people who decide and people who doubt.

Everything a model or a data set said is hostile text here: the template escapes all of it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llm_assets.evaluation.assessment import assess
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.evidence import evidence_of
from llm_assets.evaluation.judge_status import judge_figures
from llm_assets.evaluation.plots import calibration_plot, requirement_plot
from llm_assets.evaluation.request import EvaluationRequest
from llm_assets.evaluation.samples import Measured, extremes, parquet
from llm_assets.plots import curve_plot, png, svg
from llm_assets.records.evaluation import EvaluationReport, JudgeStatus, Measurement
from llm_assets.records.gate import GateResult
from resources.settings import ROOT
from resources.store import ArtifactStore

TEMPLATES = ROOT / "llm_assets" / "evaluation"
SHOWN_EXAMPLES = 6
OTHERS = ("base_", "champion_")
"""How the names of other models' own values begin; per slice they would be too many to read."""


def publish(
    request: EvaluationRequest,
    store: ArtifactStore,
    measurements: Sequence[Measurement],
    measured: Sequence[Measured],
    judge_status: JudgeStatus | None = None,
    saved: Mapping[str, int] | None = None,
) -> EvaluationReport:
    """Write samples and page to the store, and make the record that points to them."""
    samples = store.put_files({"samples.parquet": parquet(measured)})
    draft = EvaluationReport(
        **request.identity.content(),
        confidence=request.line.evaluation.confidence,
        measurements=list(measurements),
        evidence=evidence_of(request.line, measured),
        samples=samples,
        judge_status=judge_status,
        saved=dict(saved or {}),
        page=samples,  # the page shows what the gates say of this very report, so it comes second
    )
    gates = [gate.judge(draft) for gate in evaluation_gates(request.line)]
    curve = json.loads((store.path(request.curve) / "curve.json").read_text())
    files = {
        "report.html": render(request, draft, gates, curve, measured).encode(),
        "gates.png": png(requirement_plot(assess(request.line, draft))),
    }
    return draft.model_copy(update={"page": store.put_files(files)})


def render(
    request: EvaluationRequest,
    report: EvaluationReport,
    gates: Sequence[GateResult],
    curve: dict[str, Any],
    measured: Sequence[Measured],
) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    chats = [one for one in measured if "win_rate" in one.scores]
    return environment.get_template("report.html.j2").render(
        line=request.line,
        identity=request.identity.content(),
        champion=request.champion_name,
        models=list(request.subjects),
        gates=gates,
        assessments=assess(request.line, report),
        calibration=request.calibration,
        calibration_plot=Markup(svg(calibration_plot(request.calibration.gates))),
        gate_plot=Markup(svg(requirement_plot(assess(request.line, report)))),
        curve_plot=Markup(svg(curve_plot(curve))),
        overall=[found for found in report.measurements if found.slice == "all"],
        slices=[m for m in report.measurements if m.slice != "all" and not m.metric.startswith(OTHERS)],
        extremes=[(one.set_name, *extremes(one, SHOWN_EXAMPLES)) for one in chats],
        saved=[(name, request.sets.sets[name].size - left, left) for name, left in report.saved.items()],
        sets=[(one.set_name, one.rows(), [task.sample_score for task in one.tasks]) for one in measured],
        confidence=report.confidence,
        judge=report.judge_status,
        judge_figures=report.judge_status and judge_figures(request.line.evaluation.judge, report.judge_status),
    )

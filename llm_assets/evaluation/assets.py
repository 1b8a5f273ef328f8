"""evaluation_report: candidate, base and champion on the same sets. And the stage's definitions."""

import base64
from typing import Any

import dagster as dg

from llm_assets.checks import gate_checks
from llm_assets.evaluation.calibration_asset import gate_calibration_asset
from llm_assets.evaluation.calibration_checks import calibration_gates
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.preparation import CODE, REPORT_CODE, judge_of, settings_of, subjects_of
from llm_assets.evaluation.request import Evaluation, EvaluationRequest
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, computed_once
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.evaluation import EvaluationReport, GateCalibration, Identity
from llm_assets.records.training import BaseModelVersion, Checkpoint, Prompt
from llm_assets.release_log import opponent
from resources.compute import Compute
from resources.settings import Settings
from resources.store import ArtifactStore


def definitions_for(line: Line) -> dg.Definitions:
    """Calibration and report, and a blocking check per gate of the line."""
    return dg.Definitions(
        assets=[gate_calibration_asset(line), _evaluation_report(line)],
        asset_checks=[
            *gate_checks(line.name, "gate_calibration", GateCalibration, calibration_gates(line)),
            *gate_checks(line.name, "evaluation_report", EvaluationReport, evaluation_gates(line)),
        ],
    )


def _evaluation_report(line: Line) -> dg.AssetsDefinition:
    upstream = ("dataset", "evaluation_sets", "base_model", "prompt", "checkpoint", "gate_calibration")

    @dg.asset(
        key=[line.name, "evaluation_report"],
        ins={name: dg.AssetIn(key=dg.AssetKey([line.name, name])) for name in upstream},
        group_name="evaluation",
        owners=line.owners,
        kinds={"deepeval", "pytorch"},
        code_version=REPORT_CODE,
        description="Candidate, base and champion on the same sets: every metric with n, standard error and slices.",
    )
    def evaluation_report(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        dataset: DatasetVersion,
        evaluation_sets: EvaluationSets,
        base_model: BaseModelVersion,
        prompt: Prompt,
        checkpoint: Checkpoint,
        gate_calibration: GateCalibration,
    ) -> dg.MaterializeResult[EvaluationReport]:
        with clear_failures():
            champion = opponent(store, line.name, checkpoint.digest)
            embedder, judge = judge_of(line, settings)
        identity = Identity(
            checkpoint=checkpoint.digest,
            base_model=base_model.digest,
            prompt=prompt.digest,
            dataset=dataset.digest,
            evaluation_sets=evaluation_sets.digest,
            judge=judge,
            champion=champion.digest if champion else "",
            calibration=gate_calibration.digest,
        )

        def evaluate() -> EvaluationReport:
            request = EvaluationRequest(
                store_url=store.url,
                store_cache=str(store.cache),
                line=line,
                subjects=subjects_of(store, base_model, prompt, checkpoint, champion),
                sets=evaluation_sets,
                embedder=embedder,
                judge=judge,
                curve=checkpoint.curve,
                champion_name=champion.name if champion else "",
                identity=identity,
                calibration=gate_calibration,
                code=CODE,
            )
            made = compute.run(context, "llm_assets.evaluation.evaluate", request.content(), "evaluation")
            return Evaluation.model_validate(made).report

        return computed_once(
            context,
            store,
            inputs=identity.content(),
            config=settings_of(line),
            version=REPORT_CODE,
            compute=evaluate,
            record_type=EvaluationReport,
            describe=lambda report: _describe(line, store, settings, report),
            keep=lambda report: report.judge_status is None or report.judge_status.worth_keeping,
        )

    return evaluation_report


def _describe(line: Line, store: ArtifactStore, settings: Settings, report: EvaluationReport) -> dict[str, Any]:
    page = store.path(report.page)
    plot = base64.b64encode((page / "gates.png").read_bytes()).decode()
    results = [gate.judge(report) for gate in evaluation_gates(line)]
    table = "\n".join(
        [
            "| gate | outcome | measured |",
            "|---|---|---|",
            *(f"| {g.gate} | {g.outcome} | {g.reason} |" for g in results),
        ]
    )
    headline = {
        "perplexity": report.find("perplexity"),
        "base_perplexity": report.find("base_perplexity"),
        "win_rate_over_base": report.find("win_rate", "base"),
    }
    return {
        **{name: found.value for name, found in headline.items() if found},
        **({"judge": report.judge_status.reason} if report.judge_status else {}),
        "gates": dg.MetadataValue.md(table),
        "plot": dg.MetadataValue.md(f"![metric against threshold](data:image/png;base64,{plot})"),
        "report": dg.MetadataValue.url(settings.report_url(report.page.digest, "report.html")),
        "report_path": dg.MetadataValue.path(str(page / "report.html")),
        "samples": dg.MetadataValue.path(str(store.path(report.samples) / "samples.parquet")),
    }

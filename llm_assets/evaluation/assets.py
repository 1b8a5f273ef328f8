"""gate_calibration: how often the gates err; evaluation_report: candidate, base and champion on the same sets."""

import base64
from typing import Any

import dagster as dg

from llm_assets.checks import gate_checks
from llm_assets.evaluation.calibration_checks import calibration_gates, describe_calibration
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.judge_digest import judge_digest
from llm_assets.evaluation.outputs import Subject
from llm_assets.evaluation.request import (
    CalibrationIdentity,
    CalibrationRequest,
    Evaluation,
    EvaluationRequest,
    Identity,
)
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, code_version, computed_once
from llm_assets.records import (
    BaseModelVersion,
    Checkpoint,
    DatasetVersion,
    EvaluationReport,
    EvaluationSets,
    GateCalibration,
    Prompt,
    Release,
)
from llm_assets.release_log import opponent
from llm_assets.training.assets import trained_before
from resources.compute import Compute
from resources.packaged import locate
from resources.settings import Settings
from resources.store import ArtifactStore

FOLDER = "llm_assets/evaluation"
OUTPUTS_CODE = code_version(
    "llm_assets/choices.py",
    "llm_assets/generation.py",
    "llm_assets/harness.py",
    "llm_assets/language_model.py",
    *(f"{FOLDER}/{name}.py" for name in ("answers", "examples", "outputs")),
)
SCORES_CODE = code_version(
    "llm_assets/data/text.py",
    *(
        f"{FOLDER}/{name}.py"
        for name in (
            "binary",
            "chat_judge",
            "custom",
            "estimates",
            "exact_match",
            "instruction_following",
            "judge",
            "lm_eval_task",
            "mean",
            "measurements",
            "multiple_choice",
            "pairs",
            "perplexity",
            "proportions",
            "qualification",
            "ratios",
            "reasoning",
            "refusal",
            "task",
            "toxicity",
            "truthfulness",
            "win_rate",
        )
    ),
)
CODE = {"outputs": OUTPUTS_CODE, "scores": SCORES_CODE}
REPORT_CODE = code_version(
    FOLDER,
    "llm_assets/data/text.py",
    *(f"llm_assets/{name}.py" for name in ("choices", "gate_spec", "gates", "generation", "harness", "language_model")),
)


def definitions_for(line: Line) -> dg.Definitions:
    """Calibration and report, and a blocking check per gate of the line."""
    return dg.Definitions(
        assets=[_gate_calibration(line), _evaluation_report(line)],
        asset_checks=[
            *gate_checks(line.name, "gate_calibration", GateCalibration, calibration_gates(line)),
            *gate_checks(line.name, "evaluation_report", EvaluationReport, evaluation_gates(line)),
        ],
    )


def _gate_calibration(line: Line) -> dg.AssetsDefinition:
    upstream = ("dataset", "evaluation_sets", "base_model", "prompt")

    @dg.asset(
        key=[line.name, "gate_calibration"],
        ins={name: dg.AssetIn(key=dg.AssetKey([line.name, name])) for name in upstream},
        group_name="evaluation",
        owners=line.owners,
        kinds={"scipy", "pytorch"},
        code_version=REPORT_CODE,
        description="How often each gate passes a model it must not and fails one it must pass, counted on simulated "
        "models, with the examples there are, before anything trains.",
    )
    def gate_calibration(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        dataset: DatasetVersion,
        evaluation_sets: EvaluationSets,
        base_model: BaseModelVersion,
        prompt: Prompt,
    ) -> dg.MaterializeResult[GateCalibration]:
        with clear_failures():
            # the opponent that the evaluation will have: a training that ran before keeps the one it had
            known = trained_before(store, line, dataset, base_model, prompt)
            champion = opponent(store, line.name, known)
            embedder, judge = _judge(line, settings)
        identity = CalibrationIdentity(
            base_model=base_model.digest,
            prompt=prompt.digest,
            evaluation_sets=evaluation_sets.digest,
            judge=judge,
            champion=champion.digest if champion else "",
        )

        def calibrate() -> GateCalibration:
            request = CalibrationRequest(
                store_url=store.url,
                store_cache=str(store.cache),
                line=line,
                subjects=_subjects(store, base_model, prompt, None, champion),
                sets=evaluation_sets,
                embedder=embedder,
                judge=judge,
                identity=identity,
                code=CODE,
            )
            made = compute.run(context, "llm_assets.evaluation.calibrate", request.content(), "the gate calibration")
            return GateCalibration.model_validate(made)

        return computed_once(
            context,
            store,
            inputs=identity.content(),
            config=_settings(line),
            version=REPORT_CODE,
            compute=calibrate,
            record_type=GateCalibration,
            describe=describe_calibration,
        )

    return gate_calibration


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
            embedder, judge = _judge(line, settings)
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
                subjects=_subjects(store, base_model, prompt, checkpoint, champion),
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
            config=_settings(line),
            version=REPORT_CODE,
            compute=evaluate,
            record_type=EvaluationReport,
            describe=lambda report: _describe(line, store, settings, report),
            keep=lambda report: report.judge_status is None or not report.judge_status.failed,
        )

    return evaluation_report


def _judge(line: Line, settings: Settings) -> tuple[str, str]:
    """Folder of the embedding judge's model, empty for a chat judge, and the judge's digest."""
    spec = line.evaluation.judge
    folder = locate(spec.embedder, settings.resolve) if spec.kind == "embedding" else None
    return str(folder or ""), judge_digest(spec, folder)


def _settings(line: Line) -> dict[str, Any]:
    """What of a line decides what is measured and shown."""
    return {
        "gates": {name: gate.model_dump(mode="json") for name, gate in line.gates.items()},
        "evaluation": line.evaluation.model_dump(mode="json", exclude={"repo", "rev"}),
    }


def _subjects(
    store: ArtifactStore,
    base_model: BaseModelVersion,
    prompt: Prompt,
    checkpoint: Checkpoint | None,
    champion: Release | None,
) -> dict[str, Subject]:
    subjects = {"base": Subject(base=base_model.files, adapter=None, system=prompt.system)}
    if checkpoint is not None:
        subjects["candidate"] = Subject(base=base_model.files, adapter=checkpoint.adapter, system=prompt.system)
    if champion is not None:
        system = Prompt.load(store, champion.prompt).system
        subjects["champion"] = Subject(base=champion.base_files, adapter=champion.adapter, system=system)
    return subjects


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

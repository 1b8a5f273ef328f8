"""gate_calibration: how often the gates of a line err, before anything trains."""

import dagster as dg

from llm_assets.evaluation.calibration_checks import describe_calibration
from llm_assets.evaluation.preparation import CODE, REPORT_CODE, judge_of, settings_of, subjects_of
from llm_assets.evaluation.request import CalibrationRequest
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, computed_once
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.evaluation import CalibrationIdentity, GateCalibration
from llm_assets.records.training import BaseModelVersion, Prompt
from llm_assets.release_log import opponent
from llm_assets.training.assets import trained_before
from resources.compute import Compute
from resources.settings import Settings
from resources.store import ArtifactStore


def gate_calibration_asset(line: Line) -> dg.AssetsDefinition:
    """The asset that stops a run before it trains for gates that could not judge it."""
    upstream = ("dataset", "evaluation_sets", "base_model", "prompt")

    @dg.asset(
        key=[line.name, "gate_calibration"],
        ins={name: dg.AssetIn(key=dg.AssetKey([line.name, name])) for name in upstream},
        group_name="evaluation",
        owners=line.owners,
        kinds={"scipy", "pytorch"},
        code_version=REPORT_CODE,
        description="How often each gate passes a model it must not and fails one it must pass, counted on simulated "
        "models, with the examples there are, and what the judge of the win rates is worth; before anything trains.",
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
            embedder, judge = judge_of(line, settings)
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
                subjects=subjects_of(store, base_model, prompt, None, champion),
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
            config=settings_of(line),
            version=REPORT_CODE,
            compute=calibrate,
            record_type=GateCalibration,
            describe=lambda made: describe_calibration(store, made),
            keep=lambda made: made.judge_status is None or made.judge_status.worth_keeping,
        )

    return gate_calibration

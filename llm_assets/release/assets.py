"""verdict, registered_model, release: from a judged candidate to a bundle that can be deployed."""

from typing import Any

import dagster as dg

from llm_assets.automation import FOLLOWS_NEW_MODEL
from llm_assets.checks import gate_checks
from llm_assets.code_version import code_version
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, computed_once, latest_digest
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.evaluation import EvaluationReport, GateCalibration
from llm_assets.records.release import RegisteredModel, Release, Verdict
from llm_assets.records.training import BaseModelVersion, Checkpoint
from llm_assets.release.card import gate_table, model_card
from llm_assets.release.checks import verdict_gates
from llm_assets.release.guard import guard_verdict
from llm_assets.release.verdict import Candidate, explain, policy_digest, sign_verdict
from llm_assets.release_log import record_event
from resources.signing import Signer
from resources.store import ArtifactStore
from resources.tracking import Tracking

RELEASE_SOURCES = (
    "llm_assets/release",
    "llm_assets/data/checks.py",
    "llm_assets/training/checks.py",
    *(
        f"llm_assets/evaluation/{name}.py"
        for name in ("assessment", "calibration_checks", "checks", "holm", "judge_status", "policy")
    ),
    *(f"llm_assets/{name}.py" for name in ("evaluation_spec", "gate_spec", "gates", "line")),
)
"""Everything that judges: a mended gate judges and signs anew."""
RELEASE_CODE = code_version(*RELEASE_SOURCES)

JUDGED = ("dataset", "base_model", "checkpoint", "evaluation_report", "gate_calibration", "evaluation_sets")
"""The records that make a candidate."""


def definitions_for(line: Line) -> dg.Definitions:
    """Assets and checks of the release stage of one line."""
    return dg.Definitions(
        assets=[_verdict(line), _registered_model(line), _release(line)],
        asset_checks=gate_checks(line.name, "verdict", Verdict, verdict_gates(line)),
    )


def _ins(line: Line, *names: str) -> dict[str, dg.AssetIn]:
    return {name: dg.AssetIn(key=dg.AssetKey([line.name, name])) for name in names}


def _verdict(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "verdict"],
        ins=_ins(line, *JUDGED),
        group_name="release",
        owners=line.owners,
        kinds={"python"},
        code_version=RELEASE_CODE,
        description="Every gate of the candidate, judged again from the records and signed, bound to all digests.",
    )
    def verdict(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        signer: dg.ResourceParam[Signer],
        dataset: DatasetVersion,
        base_model: BaseModelVersion,
        checkpoint: Checkpoint,
        evaluation_report: EvaluationReport,
        gate_calibration: GateCalibration,
        evaluation_sets: EvaluationSets,
    ) -> dg.MaterializeResult[Verdict]:
        candidate = Candidate(dataset, base_model, checkpoint, evaluation_report, gate_calibration, evaluation_sets)
        with clear_failures():
            key = signer.key_id
        result = computed_once(
            context,
            store,
            inputs={
                "dataset": dataset.digest,
                "base_model": base_model.digest,
                "checkpoint": checkpoint.digest,
                "evaluation_report": evaluation_report.digest,
                "gate_calibration": gate_calibration.digest,
                "evaluation_sets": evaluation_sets.digest,
                "signing_key": key,
            },
            config=policy_digest(line),
            version=RELEASE_CODE,
            compute=lambda: sign_verdict(line, candidate, signer),
            record_type=Verdict,
            describe=lambda made: {
                "passed": made.passed,
                "gates": dg.MetadataValue.md(gate_table(made.gates)),
                "subject": made.subject,
            },
        )
        if not result.value.passed:
            context.log.warning(f"The candidate does not pass: {explain(result.value.gates)}")
        return result

    return verdict


def _registered_model(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "registered_model"],
        ins=_ins(line, "verdict", "checkpoint"),
        group_name="release",
        owners=line.owners,
        kinds={"mlflow"},
        code_version=RELEASE_CODE,
        description="A version in the MLflow model registry with alias `staging`, tagged with every digest.",
    )
    def registered_model(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        signer: dg.ResourceParam[Signer],
        tracking: dg.ResourceParam[Tracking],
        verdict: Verdict,
        checkpoint: Checkpoint,
    ) -> dg.MaterializeResult[RegisteredModel]:
        with clear_failures():
            guard_verdict(context, store, signer, line, verdict)
            store.verify(checkpoint.adapter)

        def register() -> RegisteredModel:
            tags = {"verdict": verdict.digest, **verdict.subject}
            version = tracking.register(line.name, store.path(checkpoint.adapter), checkpoint.mlflow_run_id, tags)
            return RegisteredModel(
                name=line.name,
                version=version,
                mlflow_run_id=checkpoint.mlflow_run_id,
                adapter=checkpoint.adapter.digest,
                verdict=verdict.digest,
            )

        result = computed_once(
            context,
            store,
            inputs={"verdict": verdict.digest, "checkpoint": checkpoint.digest, "registry": tracking.tracking_uri},
            config={},
            version="1",  # a version is an effect on the registry: new code must not register the same model again
            compute=register,
            record_type=RegisteredModel,
            describe=lambda made: {"version": made.version, "mlflow_run_id": made.mlflow_run_id},
        )
        with clear_failures():
            if latest_digest(context.instance, context.asset_key) != result.value.digest:
                tracking.set_alias(line.name, "staging", result.value.version)
        return result

    return registered_model


def _release(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "release"],
        ins=_ins(line, "registered_model", "verdict", *JUDGED),
        group_name="release",
        owners=line.owners,
        kinds={"python"},
        code_version=RELEASE_CODE,
        automation_condition=FOLLOWS_NEW_MODEL,
        description="The bundle that is deployed as one unit, with its model card, entered in the release log.",
    )
    def release(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        signer: dg.ResourceParam[Signer],
        registered_model: RegisteredModel,
        verdict: Verdict,
        dataset: DatasetVersion,
        base_model: BaseModelVersion,
        checkpoint: Checkpoint,
        evaluation_report: EvaluationReport,
        gate_calibration: GateCalibration,
        evaluation_sets: EvaluationSets,
    ) -> dg.MaterializeResult[Release]:
        with clear_failures():
            guard_verdict(context, store, signer, line, verdict)
        candidate = Candidate(dataset, base_model, checkpoint, evaluation_report, gate_calibration, evaluation_sets)
        result = computed_once(
            context,
            store,
            inputs={"verdict": verdict.digest, "registered_model": registered_model.digest},
            config={},
            version=RELEASE_CODE,
            compute=lambda: _bundle(store, line, candidate, verdict, registered_model),
            record_type=Release,
            describe=lambda made: _describe_release(store, made),
        )
        with clear_failures():
            record_event(store, line.name, "released", result.value)
        return result

    return release


def _bundle(
    store: ArtifactStore, line: Line, candidate: Candidate, verdict: Verdict, registered: RegisteredModel
) -> Release:
    name = f"{line.name}-v{registered.version}"
    card = model_card(line, name, candidate, verdict)
    return Release(
        line=line.name,
        name=name,
        version=registered.version,
        adapter=candidate.checkpoint.adapter,
        checkpoint=candidate.checkpoint.digest,
        base_model=candidate.base_model.digest,
        base_files=candidate.base_model.files,
        prompt=candidate.checkpoint.prompt,
        dataset=candidate.dataset.digest,
        verdict=verdict.digest,
        card=store.put_files({"README.md": card.encode()}),
    )


def _describe_release(store: ArtifactStore, release: Release) -> dict[str, Any]:
    card = store.path(release.card) / "README.md"
    return {
        "name": release.name,
        "digest": release.digest,
        "adapter": release.adapter.digest,
        "model_card": dg.MetadataValue.md(card.read_text()),
    }

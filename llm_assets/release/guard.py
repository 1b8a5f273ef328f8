"""The guard: what every asset from `registered_model` on does first.

A blocking check stops its own run only. So before anything moves towards users, the records it is about to use are
read again: the verdict is loaded for exactly these digests, its signature and the bytes are verified, and the newest
candidate's gates are judged anew. It holds alike for the UI button, a sensor, the CLI and a backfill.
"""

import dagster as dg

from llm_assets.data.checks import dataset_gates
from llm_assets.evaluation.calibration_checks import calibration_gates
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.gates import Gate
from llm_assets.line import Line
from llm_assets.materialize import latest_digest, own_digest
from llm_assets.records import (
    Checkpoint,
    DatasetVersion,
    EvaluationReport,
    GateCalibration,
    GateResult,
    Record,
    Release,
    Verdict,
)
from llm_assets.release.verdict import explain, verify_verdict
from llm_assets.training.checks import checkpoint_gates
from resources.errors import GuardError
from resources.signing import Signer
from resources.store import ArtifactStore


def guard_newest(context: dg.AssetExecutionContext, store: ArtifactStore, line: Line) -> None:
    """Refuse while the newest dataset, checkpoint or report of the line fails a gate.

    What was released before keeps serving; going back to it is the job `rollback`, never a promotion.

    Raises:
        GuardError: names the failed gates and the way out.
    """
    failed = [result for results in _newest_gates(context, store, line) for result in results if result.blocks]
    if failed:
        raise GuardError(
            f"{line.name}: refused, the newest candidate does not pass: {explain(failed)}. Production stays as it is; "
            f"mend the data or the line and run {line.name}_continuous_training, or go back with {line.name}_rollback."
        )


def guard_verdict(
    context: dg.AssetExecutionContext, store: ArtifactStore, signer: Signer, line: Line, verdict: Verdict
) -> None:
    """The newest candidate passes and this verdict is the signed pass for it.

    Raises:
        GuardError: names what is missing.
    """
    guard_newest(context, store, line)
    verify_verdict(verdict, signer)
    newest = _newest_digest(context, line, "evaluation_report")
    judged = verdict.subject.get("evaluation_report")
    if newest != judged:
        raise GuardError(
            f"{line.name}: verdict {verdict.short} is about evaluation report {str(judged)[:12]}, but the newest is "
            f"{str(newest)[:12]}; materialize {line.name}/verdict for it first."
        )


def verify_release(store: ArtifactStore, signer: Signer, release: Release) -> Verdict:
    """A release is what its signed, passing verdict judged, byte for byte.

    Raises:
        GuardError: no such verdict, not a pass, bad signature, or bound to other digests.
        StoreError: bytes in the store are not what was published.
    """
    verdict = Verdict.load(store, release.verdict)
    verify_verdict(verdict, signer)
    bound = {
        "adapter": release.adapter.digest,
        "checkpoint": release.checkpoint,
        "base_model": release.base_model,
        "base_files": release.base_files.digest,
        "prompt": release.prompt,
        "dataset": release.dataset,
    }
    for name, digest in bound.items():
        if verdict.subject.get(name) != digest:
            judged = str(verdict.subject.get(name))[:12]
            raise GuardError(f"{release.name}: its {name} is {digest[:12]}, but its verdict judged {judged}.")
    store.verify(release.adapter)
    store.verify(release.base_files)
    return verdict


def guard_release(
    context: dg.AssetExecutionContext, store: ArtifactStore, signer: Signer, line: Line, release: Release
) -> None:
    """The newest candidate passes its gates, and this release is exactly what a signed verdict let through.

    Raises:
        GuardError: names the failed gate or what does not match.
        StoreError: bytes in the store are not what was published.
    """
    guard_newest(context, store, line)
    verify_release(store, signer, release)


def _newest_gates(context: dg.AssetExecutionContext, store: ArtifactStore, line: Line) -> list[list[GateResult]]:
    stages: list[tuple[str, type[Record], list[Gate]]] = [
        ("dataset", DatasetVersion, dataset_gates(line)),
        ("gate_calibration", GateCalibration, calibration_gates(line)),
        ("checkpoint", Checkpoint, checkpoint_gates(line)),
        ("evaluation_report", EvaluationReport, evaluation_gates(line)),
    ]
    results: list[list[GateResult]] = []
    for asset, record_type, gates in stages:
        digest = _newest_digest(context, line, asset)
        if digest is None:
            raise GuardError(f"{line.name}/{asset} was never materialized; run {line.name}_continuous_training first.")
        record = record_type.load(store, digest)
        results.append([gate.judge(record) for gate in gates])
    return results


def _newest_digest(context: dg.AssetExecutionContext, line: Line, asset: str) -> str | None:
    key = dg.AssetKey([line.name, asset])
    return own_digest(context.instance, context.run, key) or latest_digest(context.instance, key)

"""The guard: what every asset from `registered_model` on does first.

A blocking check stops its own run only. So before anything moves towards users, the records it is about to use are
read again: the verdict is loaded for exactly these digests, its signature and the bytes are verified, and the newest
candidate's gates are judged anew. A new release also needs a verdict by the gates that the line has now, against the
release that serves now. It holds alike for the UI button, a sensor, the CLI and a backfill.
"""

from typing import TypeVar

import dagster as dg

from llm_assets.line import Line
from llm_assets.materialize import latest_digest, own_digest
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.evaluation import EvaluationReport, GateCalibration
from llm_assets.records.record import Record
from llm_assets.records.release import Release, Verdict
from llm_assets.records.training import BaseModelVersion, Checkpoint
from llm_assets.release.verdict import Candidate, explain, judge, policy_digest, verify_verdict
from llm_assets.release_log import champion, opponent
from resources.errors import GuardError
from resources.signing import Signer
from resources.store import ArtifactStore

R = TypeVar("R", bound=Record)


def guard_newest(context: dg.AssetExecutionContext, store: ArtifactStore, line: Line) -> Candidate:
    """The newest records of the line; refuses while one of them fails a gate.

    What was released before keeps serving; going back to it is the job `rollback`, never a promotion.

    Raises:
        GuardError: names the failed gates and the way out.
    """
    newest = _newest(context, store, line)
    failed = [result for result in judge(line, newest) if result.blocks]
    if failed:
        raise GuardError(
            f"{line.name}: refused, the newest candidate does not pass: {explain(failed)}. Production stays as it is; "
            f"mend the data or the line and run {line.name}_continuous_training, or go back with {line.name}_rollback."
        )
    return newest


def guard_verdict(
    context: dg.AssetExecutionContext, store: ArtifactStore, signer: Signer, line: Line, verdict: Verdict
) -> None:
    """The newest candidate passes and this verdict is the signed pass for it, as things are now.

    Raises:
        GuardError: names what is missing.
    """
    newest = guard_newest(context, store, line)
    verify_verdict(verdict, signer)
    judged = verdict.subject.get("evaluation_report")
    if newest.report.digest != judged:
        raise GuardError(
            f"{line.name}: verdict {verdict.short} is about evaluation report {str(judged)[:12]}, but the newest is "
            f"{newest.report.short}; materialize {line.name}/verdict for it first."
        )
    guard_currency(store, line, newest, verdict)


def guard_currency(store: ArtifactStore, line: Line, newest: Candidate, verdict: Verdict) -> None:
    """The newest records belong together, and a verdict is by the line's gates of now, against what serves now.

    Raises:
        GuardError: names what has changed since, and the way out.
    """
    again = f"run {line.name}_continuous_training, which computes only what changed"
    if mismatch := newest.mismatch():
        raise GuardError(f"{line.name}: refused, {mismatch}; {again}, or wait for the run that is at it.")
    if verdict.subject.get("gate_policy") != policy_digest(line):
        raise GuardError(
            f"{line.name}: verdict {verdict.short} is by other gates, sets or data rules than the line has; {again}."
        )
    report = EvaluationReport.load(store, verdict.subject.get("evaluation_report", ""))
    compared, now = report.champion, opponent(store, line.name, report.checkpoint)
    if compared != (now.digest if now else ""):
        was = Release.load(store, compared).name if compared else "no champion"
        raise GuardError(
            f"{line.name}: the candidate was compared with {was}, but what it must compete with now is "
            f"{now.name if now else 'nothing'}: production has changed since; {again}."
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

    Another release than the one that serves also needs a verdict that holds as things are now.

    Raises:
        GuardError: names the failed gate or what does not match.
        StoreError: bytes in the store are not what was published.
    """
    newest = guard_newest(context, store, line)
    verdict = verify_release(store, signer, release)
    if champion(store, line.name) != release:
        guard_currency(store, line, newest, verdict)


def _newest(context: dg.AssetExecutionContext, store: ArtifactStore, line: Line) -> Candidate:
    def load(asset: str, record_type: type[R]) -> R:
        key = dg.AssetKey([line.name, asset])
        digest = own_digest(context.instance, context.run, key) or latest_digest(context.instance, key)
        if digest is None:
            raise GuardError(f"{line.name}/{asset} was never materialized; run {line.name}_continuous_training first.")
        return record_type.load(store, digest)

    return Candidate(
        dataset=load("dataset", DatasetVersion),
        base_model=load("base_model", BaseModelVersion),
        checkpoint=load("checkpoint", Checkpoint),
        report=load("evaluation_report", EvaluationReport),
        calibration=load("gate_calibration", GateCalibration),
        sets=load("evaluation_sets", EvaluationSets),
    )

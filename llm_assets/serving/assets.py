"""staging_deployment, production_deployment: a release on its servers, then in front of users.

Both act on the outside world, so an equal computation of the past proves nothing: they look at what runs and change
what differs. The servers outlive the run.
"""

from typing import Any

import dagster as dg

from llm_assets.automation import FOLLOWS_NEW_MODEL
from llm_assets.checks import gate_checks
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, latest_digest
from llm_assets.records.data import EvaluationSets
from llm_assets.records.release import Release
from llm_assets.records.serving import Deployment
from llm_assets.release.guard import guard_release
from llm_assets.release.verdict import explain
from llm_assets.release_log import champion, record_event
from llm_assets.serving import deploy
from llm_assets.serving.checks import deployment_gates
from resources.errors import GuardError, StoreError
from resources.route import Route
from resources.serving import LocalServing
from resources.signing import Signer
from resources.store import ArtifactStore
from resources.tracking import Tracking


def definitions_for(line: Line) -> dg.Definitions:
    """Assets and checks of the serving stage of one line."""
    return dg.Definitions(
        assets=[_staging_deployment(line), _production_deployment(line)],
        asset_checks=gate_checks(line.name, "staging_deployment", Deployment, deployment_gates(line)),
    )


def _ins(line: Line, *names: str) -> dict[str, dg.AssetIn]:
    return {name: dg.AssetIn(key=dg.AssetKey([line.name, name])) for name in names}


def _staging_deployment(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "staging_deployment"],
        ins=_ins(line, "release", "evaluation_sets"),
        group_name="serving",
        owners=line.owners,
        kinds={"http"},
        automation_condition=FOLLOWS_NEW_MODEL,
        description="The release's adapter in a running server, asked real questions, not yet reachable for users.",
    )
    def staging_deployment(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        signer: dg.ResourceParam[Signer],
        serving: dg.ResourceParam[LocalServing],
        release: Release,
        evaluation_sets: EvaluationSets,
    ) -> dg.MaterializeResult[Deployment]:
        with clear_failures():
            guard_release(context, store, signer, line, release)
            questions = deploy.held_out_questions(store, evaluation_sets, line.deployment.questions)
            known = _known(context, store, release)
            with serving.locked(line.name):  # else a promotion could drop the adapter before it is logged as staged
                route = deploy.prepare(serving, store, release)
                deployment = _still_there(serving, line, known, route, questions) or _staged(
                    serving, line, route, questions
                )
                record_event(store, line.name, "staged", release)
                deploy.tidy(serving, store, line.name, release)
        return _result(line, deployment, reused=deployment == known)

    return staging_deployment


def _production_deployment(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "production_deployment"],
        ins=_ins(line, "staging_deployment", "release"),
        group_name="serving",
        owners=line.owners,
        kinds={"http", "mlflow"},
        description="The release that users get: the gateway points to it and the alias `production` names it.",
    )
    def production_deployment(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        signer: dg.ResourceParam[Signer],
        serving: dg.ResourceParam[LocalServing],
        tracking: dg.ResourceParam[Tracking],
        staging_deployment: Deployment,
        release: Release,
    ) -> dg.MaterializeResult[Deployment]:
        with clear_failures(), serving.locked(line.name):  # else another promotion could follow what the guard saw
            guard_release(context, store, signer, line, release)
            guard_staging(line, staging_deployment, release)
            known = _known(context, store, release)
            deployment = _promoted(serving, store, tracking, line, release, known)
        return _result(line, deployment, reused=deployment == known)

    return production_deployment


def guard_staging(line: Line, staging: Deployment, release: Release) -> None:
    """The staging deployment was of this release and passes its gates, judged again.

    Raises:
        GuardError: another release, or names the failed gates.
    """
    if staging.stage != "staging" or staging.release != release.digest:
        raise GuardError(
            f"{line.name}: {release.name} is to be promoted, but {staging.name} ({staging.release[:12]}) is what was "
            f"staged; materialize {line.name}/staging_deployment first."
        )
    failed = [result for gate in deployment_gates(line) if not (result := gate.judge(staging)).passed]
    if failed:
        raise GuardError(f"{line.name}: {release.name} does not pass in staging: {explain(failed)}.")


def _staged(serving: LocalServing, line: Line, route: Route, questions: list[deploy.Question]) -> Deployment:
    answers = deploy.ask_all(serving, route, questions, line.deployment.max_new_tokens)
    return Deployment(stage="staging", release=route.release, name=route.name, url=route.backend, answers=answers)


def _still_there(
    serving: LocalServing, line: Line, known: Deployment | None, route: Route, questions: list[deploy.Question]
) -> Deployment | None:
    """The earlier record, if it is of this server and these questions, passed, and the server answers one of them."""
    asked = [question[-1]["content"] for question in questions]
    if known is None or known.url != route.backend or [answer.question for answer in known.answers] != asked:
        return None
    if not all(gate.judge(known).passed for gate in deployment_gates(line)):
        return None
    answer, _ = serving.ask(route.backend, questions[0], line.deployment.max_new_tokens, route.model, route.system)
    return known if answer.strip() else None


def _promoted(
    serving: LocalServing,
    store: ArtifactStore,
    tracking: Tracking,
    line: Line,
    release: Release,
    known: Deployment | None,
) -> Deployment:
    with serving.locked(line.name):
        url = serving.ensure_gateway(line.name, line.deployment.gateway_port)
        serves = champion(store, line.name)
        if (
            known is not None
            and known.url == url
            and serves == release
            and deploy.is_served(serving, release, deploy.PROBE, line.deployment.max_new_tokens)
        ):
            return known
        return deploy.serve(serving, store, tracking, line, release, deploy.PROBE, "promoted")


def _known(context: dg.AssetExecutionContext, store: ArtifactStore, release: Release) -> Deployment | None:
    """The record this asset last published, if it is about the same release."""
    digest = latest_digest(context.instance, context.asset_key)
    if digest is None:
        return None
    try:
        known = Deployment.load(store, digest)
    except (StoreError, ValueError):  # gone or of an older shape: deploy as if for the first time
        return None
    return known if known.release == release.digest else None


def _result(line: Line, deployment: Deployment, reused: bool) -> dg.MaterializeResult[Deployment]:
    shown = deploy.describe(deployment, line, reused)
    metadata: dict[str, Any] = {
        **shown,
        "answers": dg.MetadataValue.md(shown["answers"]),
        "url": dg.MetadataValue.url(shown["url"]),
        "curl": dg.MetadataValue.md(f"```\n{shown['curl']}\n```"),
    }
    return dg.MaterializeResult(value=deployment, metadata=metadata, data_version=dg.DataVersion(deployment.digest))

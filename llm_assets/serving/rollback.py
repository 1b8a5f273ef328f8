"""The job `rollback`: production goes back to the release before, whatever the newest candidate looks like."""

import dagster as dg

from llm_assets.jobs import CONSOLE
from llm_assets.line import Line
from llm_assets.materialize import RECORD, clear_failures
from llm_assets.records.release import Release
from llm_assets.records.serving import Deployment
from llm_assets.release.guard import verify_release
from llm_assets.release_log import champion, history, previous
from llm_assets.serving import deploy
from resources.errors import GuardError
from resources.serving import LocalServing
from resources.signing import Signer
from resources.store import ArtifactStore
from resources.tracking import Tracking


def rollback_job(line: Line) -> dg.JobDefinition:
    """One op: verify the earlier release byte for byte, start what it needs, flip the route, say so everywhere."""

    @dg.op(name=f"{line.name}_roll_back", description="Make the release before the champion serve again.")
    def roll_back(
        context: dg.OpExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        signer: dg.ResourceParam[Signer],
        serving: dg.ResourceParam[LocalServing],
        tracking: dg.ResourceParam[Tracking],
    ) -> None:
        with clear_failures():
            deployment = rolled_back(store, signer, serving, tracking, line)
            digest = deployment.save(store)
        context.log.info(f"{deployment.name} serves again at {deployment.url}.")
        shown = deploy.describe(deployment, line, reused=False)
        context.log_event(
            dg.AssetMaterialization(
                asset_key=dg.AssetKey([line.name, "production_deployment"]),
                description=f"Rolled back to {deployment.name}.",
                metadata={
                    **shown,
                    RECORD: digest,
                    "rolled_back": True,
                    "answers": dg.MetadataValue.md(shown["answers"]),
                },
                tags={"dagster/data_version": deployment.digest},
            )
        )

    @dg.job(
        name=f"{line.name}_rollback",
        description=f"Production of {line.name} goes back to the previous release.",
        tags={"line": line.name},
        config=CONSOLE,
    )
    def rollback() -> None:
        roll_back()

    return rollback


def rolled_back(
    store: ArtifactStore, signer: Signer, serving: LocalServing, tracking: Tracking, line: Line
) -> Deployment:
    """Make the previous release serve.

    Raises:
        GuardError: there is none, or it is not what its verdict let through.
        ServingError: it does not answer; what served before serves on.
    """
    with serving.locked(line.name):
        release, leaving = previous(store, line.name), champion(store, line.name)
        if release is None:
            raise GuardError(f"{line.name} has no release to go back to: {_no_way_back(store, line.name, leaving)}.")
        verify_release(store, signer, release)
        return deploy.serve(serving, store, tracking, line, release, deploy.PROBE, "rolled_back")


def _no_way_back(store: ArtifactStore, line: str, leaving: Release | None) -> str:
    if leaving is None:
        return "nothing was ever promoted"
    promoted = [entry["name"] for entry in history(store, line) if entry["event"] == "promoted"]
    undone = ", ".join(sorted({name for name in promoted if name != leaving.name}))
    if not undone:
        return f"only {leaving.name} was ever promoted"
    return f"{leaving.name}, which serves, was promoted first, and {undone} after it already rolled back"

"""A new commit of the data registry that changes what the line reads starts a training."""

import json

import dagster as dg

from llm_assets.data.sources import evaluation_source, training_source
from llm_assets.line import Line
from llm_assets.materialize import latest_digest
from llm_assets.records.data import DatasetVersion, EvaluationSets
from resources.errors import DataError, StoreError
from resources.registry import DataRegistry
from resources.settings import Settings
from resources.store import ArtifactStore, digest_of

Objects = dict[str, str]


def dvc_commits(line: Line) -> dg.SensorDefinition:
    """Exactly one training per change of the training data or the evaluation sets.

    The cursor holds what was seen last and how many changes there were; the run key is made of commit and number, so
    that a tick that is repeated after a crash asks for the same run, and data that returns to an earlier state for a
    new one. Without a cursor the present content is compared with what the newest dataset was made of.
    """

    @dg.sensor(
        name=f"{line.name}_dvc_commits",
        job_name=f"{line.name}_continuous_training",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Watches {line.data.repo} at {line.data.rev}: new data or evaluation sets start a training.",
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        registry: dg.ResourceParam[DataRegistry],
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[ArtifactStore],
    ) -> dg.SensorResult:
        try:
            training = training_source(line, registry, settings)
            evaluation = evaluation_source(line, registry, settings)
        except DataError as error:
            context.log.error(str(error))
            return dg.SensorResult(skip_reason=f"{error} The next tick looks again.")
        content = _content(training.objects, evaluation.objects)
        commits = {training.commit[:12]: None, evaluation.commit[:12]: None}
        commit = "-".join(commits)
        state = json.loads(context.cursor) if context.cursor else None
        known = state["content"] if state else _trained_on(context.instance, line, store)
        changes = state["changes"] if state else 0
        changed = known is not None and known != content
        left = json.dumps({"content": content, "commit": commit, "changes": changes + changed})
        if not changed:
            seen = "unchanged" if state else "the baseline"
            return dg.SensorResult(skip_reason=f"{commit} is {seen}, as far as the line reads it.", cursor=left)
        tags = {"llm/cause": "commit", "llm/commit": commit}
        request = dg.RunRequest(run_key=f"{line.name}-{commit}-{changes + 1}", tags=tags)
        return dg.SensorResult(run_requests=[request], cursor=left)

    return sensor


def _content(training: Objects, evaluation: Objects) -> str:
    return digest_of({"training": training, "evaluation": evaluation})


def _trained_on(instance: dg.DagsterInstance, line: Line, store: ArtifactStore) -> str | None:
    """The content that the newest dataset and evaluation sets were made of; None if there are none yet."""
    dataset, evaluation = (
        latest_digest(instance, dg.AssetKey([line.name, name])) for name in ("dataset", "evaluation_sets")
    )
    if dataset is None or evaluation is None:
        return None
    try:
        return _content(DatasetVersion.load(store, dataset).objects, EvaluationSets.load(store, evaluation).objects)
    except (StoreError, ValueError):  # gone or of an older shape: unlike anything, so that it is made again
        return ""

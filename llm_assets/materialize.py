"""How an asset runs: reuse what an equal computation gave, turn errors into failures, hand records on.

`computed_once` keys a result by the digests of its inputs, its configuration and its code; `RecordIOManager` hands
records between assets. Nothing here knows what a stage does.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from llm_assets.records.record import Record
from resources.errors import PlatformError
from resources.store import ArtifactStore, digest_of

RECORD = "record"
"""Metadata key of the digest of the record that a materialization published."""


@contextmanager
def clear_failures() -> Iterator[None]:
    """Turn the platform's own errors into a Dagster `Failure` with the same sentence."""
    try:
        yield
    except PlatformError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def computed_once(
    context: dg.AssetExecutionContext,
    store: ArtifactStore,
    *,
    inputs: Mapping[str, str],
    config: Any,
    version: str,
    compute: Callable[[], Record],
    record_type: type[Record],
    describe: Callable[[Any], Mapping[str, Any]] = lambda _: {},
    keep: Callable[[Any], bool] = lambda _: True,
    asset_key: dg.AssetKey | None = None,
) -> dg.MaterializeResult[Any]:
    """Materialize a record, computing it only if no equal computation has published it before.

    Args:
        inputs: name -> digest of everything that is read.
        config: JSON value or pydantic model of the settings that matter.
        version: `code_version` of the code that computes.
        compute: makes the record; called at most once.
        record_type: what a reused record is read back as.
        describe: metadata shown in the UI, made from the record.
        keep: whether an equal computation may reuse the record; not if something outside could answer next time.
        asset_key: which asset, where one function makes several.

    Raises:
        Failure: with the message of the PlatformError that `compute` raised.
    """
    key = result_key(asset_key or context.asset_key, inputs, config, version)
    with clear_failures():
        record = record_type.published(store, key)
        reused = record is not None
        if record is None:
            record = compute()
            if keep(record):
                store.put_result(key, record.save(store))
        metadata = {**describe(record), "reused": reused, "inputs": dict(inputs), "result_key": key[:16]}
    data_version = dg.DataVersion(record.digest)
    return dg.MaterializeResult(value=record, asset_key=asset_key, metadata=metadata, data_version=data_version)


def result_key(asset_key: dg.AssetKey, inputs: Mapping[str, str], config: Any, version: str) -> str:
    """What names a computation, see `computed_once`."""
    settings = config.model_dump(mode="json") if hasattr(config, "model_dump") else config
    return digest_of({"asset": "/".join(asset_key.path), "inputs": dict(inputs), "config": settings, "code": version})


class RecordIOManager(dg.IOManager):
    """Publishes records under their digest and reads them back through the event log.

    A run reads the records of its own run first (and of the run it re-executes), then the latest materialized one,
    so two concurrent runs never mix.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store

    def handle_output(self, context: dg.OutputContext, obj: Record) -> None:
        """Save the record; its digest becomes metadata of the materialization."""
        with clear_failures():
            context.add_output_metadata({RECORD: obj.save(self.store)})

    def load_input(self, context: dg.InputContext) -> Record:
        """Read the record of the upstream asset, as the type that the asset function declares."""
        instance = context.step_context.instance
        key = context.asset_key
        partition = context.asset_partition_key if context.has_asset_partitions else None
        own = own_digest(instance, context.step_context.dagster_run, key, partition)
        digest = own or latest_digest(instance, key, partition)
        if digest is None:
            name = key.to_user_string() + (f" of {partition}" if partition else "")
            raise dg.Failure(f"{name} was never materialized; materialize it first.", allow_retries=False)
        with clear_failures():
            record_type: type[Record] = context.dagster_type.typing_type
            return record_type.load(self.store, digest)


def latest_digest(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> str | None:
    """Digest of the record that an asset, or one partition of it, last published."""
    if partition is not None:
        records = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
        found = instance.fetch_materializations(records, limit=1).records
        return _record_of(found[0].asset_materialization if found else None)
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    return _record_of(materialization)


def own_digest(
    instance: dg.DagsterInstance, run: dg.DagsterRun | None, key: dg.AssetKey, partition: str | None = None
) -> str | None:
    """Digest of the record that this run, or the runs it re-executes, published for an asset (partition)."""
    while run is not None:
        for entry in reversed(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)):
            materialization = entry.asset_materialization
            if materialization and (materialization.asset_key, materialization.partition) == (key, partition):
                return _record_of(materialization)
        run = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return None


def _record_of(materialization: dg.AssetMaterialization | None) -> str | None:
    value = materialization.metadata.get(RECORD) if materialization else None
    return str(value.value) if value is not None else None

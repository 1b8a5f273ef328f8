"""Assets compute only what changed, fail with one sentence, and never mix two runs."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from llm_assets.materialize import RecordIOManager, computed_once
from llm_assets.records.data import Quarantine
from llm_assets.records.training import Prompt
from resources.errors import DataError
from resources.store import ArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


class Bench:
    """Two assets, upstream `prompt` and downstream `seen`, whose computations are counted."""

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self.system = "hello"
        self.computed: list[str] = []
        self.instance = dg.DagsterInstance.ephemeral()

    def definitions(self) -> dg.Definitions:
        @dg.asset(key=["l", "prompt"])
        def prompt(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Prompt]:
            return self.once(context, {}, {"system": self.system}, lambda: Prompt(system=self.system), Prompt)

        @dg.asset(key=["l", "seen"], ins={"prompt": dg.AssetIn(key=["l", "prompt"])})
        def seen(context: dg.AssetExecutionContext, prompt: Prompt) -> dg.MaterializeResult[Quarantine]:
            def compute() -> Quarantine:
                return Quarantine(rows=self.store.put_files({"seen": prompt.system.encode()}), reasons={})

            return self.once(context, {"prompt": prompt.digest}, {}, compute, Quarantine)

        return dg.Definitions(assets=[prompt, seen], resources={"io_manager": RecordIOManager(self.store)})

    def once(self, context: Any, inputs: Any, config: Any, compute: Any, record_type: Any) -> dg.MaterializeResult[Any]:
        def counted() -> Any:
            self.computed.append(context.asset_key.path[-1])
            return compute()

        return computed_once(
            context, self.store, inputs=inputs, config=config, version="1", compute=counted, record_type=record_type
        )

    def run(self, *names: str, **kwargs: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions().resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(["l", name]) for name in names] or None
        return job.execute_in_process(instance=self.instance, asset_selection=keys, **kwargs)


@pytest.fixture
def bench(store: ArtifactStore) -> Bench:
    return Bench(store)


def reused(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {
        event.materialization.asset_key.path[-1]: event.materialization.metadata["reused"].value
        for event in result.get_asset_materialization_events()
    }


def test_a_second_run_computes_nothing_and_says_so(bench: Bench) -> None:
    assert reused(bench.run()) == {"prompt": False, "seen": False}
    assert reused(bench.run()) == {"prompt": True, "seen": True}
    assert bench.computed == ["prompt", "seen"]


def test_a_changed_input_is_computed_and_going_back_reuses_the_old_result(bench: Bench) -> None:
    bench.run()
    bench.system = "changed"
    assert reused(bench.run()) == {"prompt": False, "seen": False}
    bench.system = "hello"
    assert reused(bench.run()) == {"prompt": True, "seen": True}


def test_a_result_whose_bytes_are_gone_is_computed_again(bench: Bench, store: ArtifactStore) -> None:
    bench.run()
    for file in Path(store.root, "trees").glob("*/seen"):
        file.unlink()
    assert reused(bench.run()) == {"prompt": True, "seen": False}


def test_a_failed_computation_publishes_nothing_and_shows_the_sentence(store: ArtifactStore) -> None:
    @dg.asset
    def broken(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Prompt]:
        def compute() -> Prompt:
            raise DataError("shard 7 is empty; push it again.")

        return computed_once(context, store, inputs={}, config={}, version="1", compute=compute, record_type=Prompt)

    result = dg.materialize([broken], resources={"io_manager": RecordIOManager(store)}, raise_on_error=False)
    failure = result.failure_data_for_node("broken")
    assert failure.user_failure_data.description == "shard 7 is empty; push it again."
    assert not Path(store.root, "results").exists()


def test_a_partial_run_reads_the_latest_materialized_record(bench: Bench) -> None:
    bench.run()
    bench.system = "newer"
    bench.run("prompt")
    result = bench.run("seen")
    record = result.output_for_node("l__seen")
    assert bench.store.path(record.rows).joinpath("seen").read_text() == "newer"


def test_a_run_reads_its_own_records_though_another_run_materialized_later_ones(bench: Bench) -> None:
    other = Bench(bench.store)
    other.instance, other.system = bench.instance, "from the other run"
    read: list[str] = []

    @dg.asset(key=["l", "between"], deps=[dg.AssetKey(["l", "prompt"])], io_manager_key="plain")
    def between() -> None:
        other.run("prompt")

    @dg.asset(
        key=["l", "after"], ins={"prompt": dg.AssetIn(key=["l", "prompt"])}, deps=[between], io_manager_key="plain"
    )
    def after(prompt: Prompt) -> None:
        read.append(prompt.system)

    extra = dg.Definitions(assets=[between, after], resources={"plain": dg.mem_io_manager})
    job = dg.Definitions.merge(bench.definitions(), extra).resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=bench.instance)
    assert read == ["hello"]

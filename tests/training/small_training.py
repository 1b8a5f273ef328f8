"""The training stage on the tiny model: real children and a real tracker, below a small dataset."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.line import Line
from llm_assets.materialize import RecordIOManager
from llm_assets.records.data import DatasetVersion
from llm_assets.records.training import BaseModelVersion, Checkpoint, Prompt
from llm_assets.training.assets import definitions_for
from resources.compute import Compute
from resources.settings import Settings
from resources.store import ArtifactStore
from resources.tracking import Tracking, tracking_resource

NAME = "small"
STEPS = 12
TRAINING: dict[str, Any] = {
    "steps": STEPS,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "warmup_steps": 2,
    "rank": 4,
    "alpha": 8,
    "maximum_tokens": 96,
    "validate_every": 5,
}
THINGS = ["robots", "the sea", "football", "books", "rain"]


def chat(number: int) -> dict[str, Any]:
    thing = THINGS[number % len(THINGS)]
    messages = [
        {"role": "user", "content": f"Tell me about {thing}, take {number}"},
        {"role": "assistant", "content": f"I like {thing} with my friends every week."},
    ]
    return {"id": f"r{number}", "messages": messages, "category": thing, "language": "english"}


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def put_dataset(store: ArtifactStore) -> DatasetVersion:
    rows = [chat(number) for number in range(70)]
    return DatasetVersion(
        objects={"chat": "md5"},
        commit="c0ffee",
        files=store.put_files({"train.jsonl": jsonl(rows[:60]), "validation.jsonl": jsonl(rows[60:])}),
        quarantine=store.put_files({"quarantine.jsonl": b""}),
        read=70,
        train=60,
        validation=10,
        duplicates=0,
        rejected={},
        categories=dict.fromkeys(THINGS, 14),
        languages={"english": 70},
        contaminated=0,
    )


class SmallTraining:
    """One platform that can train."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.settings = Settings.from_env({"LLM_HOME": str(folder / "home"), "LLM_LINES": str(folder / "lines")})
        self.store = ArtifactStore(self.settings.store_url, self.settings.home / "cache")
        self.instance = dg.DagsterInstance.ephemeral()
        self.model = model
        self.dataset = put_dataset(self.store)
        self.compute = Compute()

    @property
    def tracking(self) -> Tracking:
        """MLflow from outside of any run."""
        return Tracking(self.settings.tracking_uri, self.settings.home / "mlartifacts")

    def line(self, **training: Any) -> Line:
        return Line.model_validate(
            {
                "name": NAME,
                "description": "A line of tests.",
                "base_model": str(self.model),
                "data": {"repo": "nowhere", "train": ["chat"]},
                "training": {**TRAINING, **training},
                "evaluation": {"sets": {"held_out": {"kind": "chat", "path": "held_out.jsonl"}}},
                "gates": {
                    "perplexity": {
                        "metric": "perplexity",
                        "change": {"against": "base", "maximum": 1.0, "minimum_effect": 0.5},
                    }
                },
            }
        )

    def definitions(self, line: Line) -> dg.Definitions:
        @dg.asset(key=[NAME, "dataset"])
        def dataset() -> dg.MaterializeResult[DatasetVersion]:
            return dg.MaterializeResult(value=self.dataset)

        resources = {
            "store": self.store,
            "settings": self.settings,
            "compute": self.compute,
            "tracking": tracking_resource(self.settings),
            "io_manager": RecordIOManager(self.store),
        }
        stage = definitions_for(line)
        parts = dg.Definitions(assets=[dataset], resources=resources, executor=dg.in_process_executor)
        return dg.Definitions.merge(stage, parts)

    def run(self, **training: Any) -> dg.ExecuteInProcessResult:
        """Materialize the whole stage, with some training settings changed."""
        job = self.definitions(self.line(**training)).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def mlflow_runs(self) -> list[Any]:
        """Newest first."""
        experiment = self.tracking.client.get_experiment_by_name(NAME)
        return list(self.tracking.client.search_runs([experiment.experiment_id])) if experiment else []


class Trained:
    """A platform after its first training."""

    def __init__(self, bench: SmallTraining) -> None:
        self.bench = bench
        self.result = bench.run()
        assert self.result.success, failures(self.result)
        self.base_model: BaseModelVersion = self.result.output_for_node(f"{NAME}__base_model")
        self.prompt: Prompt = self.result.output_for_node(f"{NAME}__prompt")
        self.checkpoint: Checkpoint = self.result.output_for_node(f"{NAME}__checkpoint")


@functools.cache
def trained_once(model: Path) -> Trained:
    """One training for all tests that only read it, of whatever folder."""
    return Trained(SmallTraining(Path(tempfile.mkdtemp(prefix="trained-", dir=model.parent)), model))


def failures(result: dg.ExecuteInProcessResult) -> str:
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return "; ".join(str(data.user_failure_data or data.error) for data in failed)

"""The models of the gate trial: each made by the shipped line's own assets, from a data registry to a checkpoint."""

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from definitions import resources_of
from llm_assets.data.assets import definitions_for as data
from llm_assets.demo_data import write_demo_data
from llm_assets.demo_registry import make_registry
from llm_assets.evaluation.assets import definitions_for as evaluation
from llm_assets.line import Line
from llm_assets.materialize import RECORD
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.evaluation import GateCalibration
from llm_assets.records.training import BaseModelVersion, Checkpoint, Prompt
from llm_assets.training.assets import definitions_for as training
from resources.console import console_logger
from resources.settings import Settings
from resources.store import MANIFEST, Artifact, ArtifactStore

ASSETS = ("source_dataset", "evaluation_sets", "dataset", "base_model", "prompt", "gate_calibration", "checkpoint")


@dataclass(frozen=True)
class Made:
    """What the assets up to the checkpoint published."""

    evaluation_sets: EvaluationSets
    dataset: DatasetVersion
    base_model: BaseModelVersion
    prompt: Prompt
    gate_calibration: GateCalibration
    checkpoint: Checkpoint


class Workshop:
    """Makes models in a folder of its own; what was made there before is found again."""

    def __init__(self, line: Line, home: Path) -> None:
        self.line = line
        self.settings = Settings.from_env({"LLM_HOME": str(home)})
        self.store = ArtifactStore(self.settings.store_url, self.settings.home / "cache")

    def make(self, seed: int, shuffled: Sequence[str] = ()) -> Made:
        """A model by its training's seed, and the languages whose answers are another prompt's each.

        Raises:
            PlatformError: an asset failed.
        """
        line = self._line(seed, shuffled)
        keys = [dg.AssetKey([line.name, name]) for name in ASSETS]
        selection = dg.AssetSelection.assets(*keys).without_checks()
        parts = dg.Definitions(
            jobs=[dg.define_asset_job("model", selection=selection)],
            resources=resources_of(self.settings),
            executor=dg.in_process_executor,
            loggers={"console": console_logger},
        )
        job = dg.Definitions.merge(data(line), training(line), evaluation(line), parts).resolve_job_def("model")
        events = job.execute_in_process(
            run_config={"loggers": {"console": {}}}, instance=dg.DagsterInstance.ephemeral()
        ).get_asset_materialization_events()
        made = {
            event.materialization.asset_key.path[-1]: event.materialization.metadata[RECORD].value for event in events
        }
        kinds = Made.__annotations__
        return Made(**{name: kinds[name].load(self.store, made[name]) for name in kinds})

    def scaled(self, checkpoint: Checkpoint, factor: float) -> Checkpoint:
        """The same training with what its adapter adds multiplied by a factor."""
        from safetensors.numpy import load_file, save_file

        folder = self.settings.home / "scaled"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.store.path(checkpoint.adapter), folder, ignore=shutil.ignore_patterns(MANIFEST))
        weights = load_file(folder / "adapter_model.safetensors")
        changed = {name: weight * factor if "lora_B" in name else weight for name, weight in weights.items()}
        (folder / "adapter_model.safetensors").unlink()
        save_file(changed, folder / "adapter_model.safetensors")
        adapter: Artifact = self.store.put_tree(folder)
        return checkpoint.model_copy(update={"adapter": adapter})

    def _line(self, seed: int, shuffled: Sequence[str]) -> Line:
        clean = self._registry(())
        sources = {"data": {"repo": str(self._registry(shuffled))}, "evaluation": {"repo": str(clean)}}
        content = self.line.model_dump(mode="json")
        for section, changes in {**sources, "training": {"seed": seed}}.items():
            content[section] |= changes
        return Line.model_validate(content)

    def _registry(self, shuffled: Sequence[str]) -> Path:
        folder = self.settings.home / "-".join(["registry", *shuffled])

        def write(into: Path) -> list[str]:
            tracked = write_demo_data(into)
            for path in sorted((into / "chat/train").glob("*.jsonl")):
                if path.name.startswith(tuple(shuffled)):
                    shuffle_answers(path)
            return tracked

        make_registry(folder, write)
        return folder


def shuffle_answers(path: Path) -> None:
    """Give each record of a file the last answer of another one."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers = [row["messages"][-1] for row in rows]
    random.Random(0).shuffle(answers)
    for row, answer in zip(rows, answers, strict=True):
        row["messages"][-1] = answer
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

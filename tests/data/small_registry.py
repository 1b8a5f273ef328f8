"""Rows, registries and lines that the tests of the data stage are made of."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.data.assets import definitions_for
from llm_assets.evaluation_spec import EvaluationSpec
from llm_assets.line import DataSpec, Line
from llm_assets.materialize import RecordIOManager
from resources.registry import DataRegistry
from resources.settings import Settings
from resources.store import ArtifactStore

Json = dict[str, Any]


def chat(name: str, answer: str, prompt: str = "", category: str = "small talk", language: str = "english") -> Json:
    turns = [("user", prompt or f"What about {name}?"), ("assistant", answer)]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"id": name, "messages": messages, "category": category, "language": language}


def write_rows(path: Path, rows: Iterable[Json | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def training_rows(count: int = 60) -> list[Json]:
    return [chat(f"r{n:03d}", f"Answer number {n}.", category=("small talk", "sports")[n % 2]) for n in range(count)]


def write_small_data(folder: Path) -> list[str]:
    write_rows(folder / "chat/train/a.jsonl", training_rows()[:30])
    write_rows(folder / "chat/train/b.jsonl", training_rows()[30:])
    write_rows(folder / "evaluation/held_out.jsonl", [chat(f"e{n}", f"Held out {n}.") for n in range(8)])
    write_rows(
        folder / "evaluation/facts.jsonl",
        [
            {"id": f"f{n}", "prompt": "", "true": f"{n} is {n}.", "false": f"{n} is {n + 1}.", "category": "x"}
            for n in range(4)
        ],
    )
    (folder / "README.md").write_text("Small data.\n")
    return ["chat/train", "evaluation/held_out.jsonl", "evaluation/facts.jsonl"]


def line_on(repo: Path | str, **data: Any) -> Line:
    sets = {
        "held_out": {"kind": "chat", "path": "evaluation/held_out.jsonl"},
        "facts": {"kind": "truthfulness", "path": "evaluation/facts.jsonl", "limit": 3},
    }
    spec = {"repo": str(repo), "train": ["chat/train"], "minimum_rows": 20, "languages": ["english"], **data}
    return Line(
        name="small",
        description="A line of tests.",
        owners=["team:tests"],
        base_model="nowhere",
        data=DataSpec.model_validate(spec),
        evaluation=EvaluationSpec.model_validate({"sets": sets}),
        gates={"perplexity": {"metric": "perplexity", "value": {"maximum": 1e9, "minimum_effect": 1.0}}},
    )


class Stage:
    """The data stage of one line on an instance of its own."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(str(folder / "store"), folder / "cache")
        self.settings = Settings.from_env({"LLM_HOME": str(folder / "home"), "LLM_LINES": str(folder / "lines")})
        self.registry = DataRegistry(folder / "cache")
        self.instance = dg.DagsterInstance.ephemeral()

    def run(self, line: Line, *assets: str) -> dg.ExecuteInProcessResult:
        names = assets or ("source_dataset", "evaluation_sets", "dataset", "quarantine")
        selection = dg.AssetSelection.assets(*[dg.AssetKey([line.name, name]) for name in names])
        resources = {
            "store": self.store,
            "settings": self.settings,
            "registry": self.registry,
            "io_manager": RecordIOManager(self.store),
        }
        definitions = dg.Definitions.merge(
            definitions_for(line),
            dg.Definitions(
                jobs=[dg.define_asset_job("data", selection=selection)],
                resources=resources,
                executor=dg.in_process_executor,
            ),
        )
        return definitions.get_job_def("data").execute_in_process(instance=self.instance, raise_on_error=False)


def materialized(run: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Asset -> metadata of what a run materialized."""
    events = [event.materialization for event in run.get_asset_materialization_events()]
    return {e.asset_key.path[-1]: {key: value.value for key, value in e.metadata.items()} for e in events}


def failure_of(run: dg.ExecuteInProcessResult) -> str:
    """The sentence that a failed run's first failed step ended with."""
    assert not run.success
    data = run.all_events and next(event for event in run.all_events if event.is_step_failure).step_failure_data
    return str(data.user_failure_data.description) if data.user_failure_data else str(data.error)

"""A whole platform in a temporary folder: a registry of its own, a line on the tiny model, and the real commands."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.demo_registry import make_registry, publish
from llm_assets.release_log import champion
from resources.serving import LocalServing
from resources.settings import ROOT, Settings
from resources.store import ArtifactStore

Json = dict[str, Any]
LINE = """
description: A line of tests.
owners: ["team:tests"]
base_model: {model}
data:
  repo: registry
  train: [{train}]
  minimum_rows: 20
  languages: [english]
training: {{steps: 15, learning_rate: 0.01, warmup_steps: 2, rank: 4, alpha: 8, maximum_tokens: 96, seed: {seed}}}
evaluation:
  sets:
    held_out: {{kind: chat, path: evaluation/held_out.jsonl, max_new_tokens: 8}}
    facts: {{kind: truthfulness, path: evaluation/facts.jsonl}}
gates:
  perplexity_beats_base:
    {{metric: perplexity, minimum_n: 20, change: {{against: base, maximum: 0.9, minimum_effect: 0.4}}}}
  perplexity_keeps_up:
    {{metric: perplexity, minimum_n: 20, change: {{against: champion, maximum: 1.3, minimum_effect: 0.3}}}}
  truthfulness: {{metric: truthfulness, value: {{minimum: 0.01, minimum_effect: 0.3}}}}
deployment: {{questions: 2, max_new_tokens: 8, maximum_seconds: 60.0}}
monitoring: {{minimum_requests: 20, cool_down_hours: 1.0}}
"""
THINGS = ["robots", "the sea", "football", "books", "rain", "music", "chess", "trains", "bread", "cats"]


def record(name: str, answer: str, prompt: str = "") -> Json:
    turns = [("user", prompt or f"Tell me about {name}"), ("assistant", answer)]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"id": name, "messages": messages, "category": THINGS[len(name) % 3], "language": "english"}


def sentence(number: int) -> str:
    thing = THINGS[number % len(THINGS)]
    return f"I like {thing} number {number} with my friends every week."


def write_rows(path: Path, rows: Iterable[Json]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_data(folder: Path) -> list[str]:
    for name, first in (("one", 0), ("two", 500)):
        rows = [record(f"{name}-{n}", sentence(first + n)) for n in range(80)]
        write_rows(folder / f"chat/{name}/a.jsonl", rows)
    write_rows(folder / "evaluation/held_out.jsonl", [record(f"e-{n}", sentence(1000 + n)) for n in range(30)])
    facts = [
        {"id": f"f{n}", "prompt": "", "true": f"{n} is {n}.", "false": f"{n} is not {n}.", "category": "x"}
        for n in range(24)
    ]
    write_rows(folder / "evaluation/facts.jsonl", facts)
    return ["chat/one", "chat/two", "evaluation/held_out.jsonl", "evaluation/facts.jsonl"]


def spoil(folder: Path) -> None:
    """Answers that a model must not learn."""
    noise = random.Random(0)
    letters = "qzxjkvwy QZXJKVWY"
    rows = [record(f"one-{n}", "".join(noise.choice(letters) for _ in range(50))) for n in range(80)]
    write_rows(folder / "chat/one/a.jsonl", rows)


def mend(folder: Path) -> None:
    """Good answers again, and some more of them."""
    write_rows(folder / "chat/one/a.jsonl", [record(f"one-{n}", sentence(n)) for n in range(100)])


class Workbench:
    """One platform."""

    def __init__(self, folder: Path, model: Path, write: Callable[[Path], Sequence[str]] = write_data) -> None:
        self.folder = folder
        self.model = model
        self.settings = Settings.from_env({"LLM_HOME": str(folder / ".llm"), "LLM_LINES": str(folder / "lines")})
        self.store = ArtifactStore(self.settings.store_url, self.settings.home / "cache")
        self.serving = LocalServing(self.settings.serving_dir)
        self.registry = folder / "registry"
        self.dagster_home = self.settings.home / "dagster"
        self.dagster_home.mkdir(parents=True)
        (self.dagster_home / "dagster.yaml").write_text((ROOT / "deploy" / "dagster.yaml").read_text())
        make_registry(self.registry, write)
        self.settings.lines_dir.mkdir()

    @property
    def environ(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "LLM_", "DAGSTER_"))}
        return {
            **inherited,
            "LLM_HOME": str(self.settings.home),
            "LLM_LINES": str(self.settings.lines_dir),
            "DAGSTER_HOME": str(self.dagster_home),
            "PYTHONWARNINGS": "ignore",
        }

    def write_line(self, name: str, train: str, seed: int) -> Path:
        path = self.settings.lines_dir / f"{name}.yaml"
        path.write_text(LINE.format(model=self.model, train=train, seed=seed))
        return path

    def dagster(self, *arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """A real `dagster` command on this platform; output is stdout and stderr together."""
        command = [str(Path(sys.executable).parent / "dagster"), *arguments, "-f", "definitions.py"]
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run_job(self, name: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return self.dagster("job", "execute", "-j", name, **kwargs)

    def publish(self, edit: Callable[[Path], None]) -> str:
        return publish(self.registry, "A change of the tests.", edit)

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.dagster_home))

    def metadata(self, asset: str, line: str = "tiny") -> dict[str, Any]:
        """Metadata of an asset's latest materialization."""
        with self.instance() as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey([line, asset]))
        assert event is not None, f"{line}/{asset} was never materialized"
        assert event.asset_materialization is not None
        return {key: value.value for key, value in event.asset_materialization.metadata.items()}

    def serving_release(self, line: str = "tiny") -> str:
        """Name of the release that answers a real request now."""
        import httpx

        url = self.serving.gateway_url(line)
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        assert response.status_code == 200, response.text
        served = champion(self.store, line)
        assert served is not None
        assert response.headers["x-release"] == served.digest
        return str(response.headers["x-release-name"])

    def mlflow_statuses(self, line: str = "tiny") -> list[str]:
        import mlflow

        client = mlflow.MlflowClient(self.settings.tracking_uri)
        experiment = client.get_experiment_by_name(line)
        return [run.info.status for run in client.search_runs([experiment.experiment_id])]

    def alerts(self) -> str:
        """Everything that was alerted so far."""
        path = self.settings.home / "alerts.jsonl"
        return path.read_text() if path.exists() else ""

    @contextmanager
    def dagster_dev(self) -> Iterator[None]:
        """`dagster dev` with its daemon and web server, until the block ends."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(Path(sys.executable).parent / "dagster"), "dev", "-w", "workspace.yaml", "-p", str(port)]
        with (self.folder / "dev.log").open("wb") as log:
            dev = subprocess.Popen(command, cwd=ROOT, env=self.environ, stdout=log, stderr=log, start_new_session=True)
            try:
                yield
            finally:
                os.killpg(dev.pid, signal.SIGINT)
                try:
                    dev.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    os.killpg(dev.pid, signal.SIGKILL)

    def wait_until(self, holds: Callable[[], bool], what: str, seconds: float = 420) -> None:
        """Poll until something holds; on time-out say what `dagster dev` said last."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, (
                f"{what} did not happen: {(self.folder / 'dev.log').read_text()[-3000:]}"
            )
            time.sleep(1)

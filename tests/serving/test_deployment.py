"""Staging, production and rollback as Dagster runs, on a real runtime and gateway with a tiny model.

The guard itself is tested with the release stage; here it stands for "refused" or "let through".
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from llm_assets.line import Line, load_line
from llm_assets.materialize import RECORD, RecordIOManager, latest_digest
from llm_assets.records.data import EvaluationSet, EvaluationSets
from llm_assets.records.release import Release
from llm_assets.records.serving import Answer, Deployment
from llm_assets.records.training import Prompt
from llm_assets.release_log import champion, history, record_event
from llm_assets.serving import assets as serving_assets
from llm_assets.serving import deploy
from llm_assets.serving import rollback as serving_rollback
from llm_assets.serving.assets import definitions_for, guard_staging
from llm_assets.serving.checks import deployment_gates
from llm_assets.serving.rollback import rollback_job
from resources.errors import GuardError, TrackingError
from resources.processes import Server
from resources.route import Route
from resources.serving import LocalServing
from resources.serving_state import RuntimeState, read_state, write_state
from resources.settings import ROOT
from resources.store import ArtifactStore
from tests.serving.conftest import http

QUESTIONS = ["Do you play football?", "What is your favourite book?", "How is the weather?"]


class FakeTracking:
    """Keeps aliases; `down` makes it fail."""

    def __init__(self) -> None:
        self.aliases: dict[str, int] = {}
        self.down = False

    def set_alias(self, name: str, alias: str, version: int) -> None:
        if self.down:
            self.down = False
            raise TrackingError("MLflow can't be reached.")
        self.aliases[f"{name}@{alias}"] = version


class Platform:
    """A line with two releases on real servers, and the runs that a user would start."""

    def __init__(self, folder: Path, base: Path, adapters_root: Path) -> None:
        line = load_line(ROOT / "lines" / "assistant.yaml")
        deployment = line.deployment.model_copy(update={"questions": 2, "max_new_tokens": 8})
        self.line: Line = line.model_copy(update={"deployment": deployment})
        self.store = ArtifactStore(str(folder / "store"), folder / "cache")
        self.serving = LocalServing(folder / "serving")
        self.tracking = FakeTracking()
        self.instance = dg.DagsterInstance.ephemeral()
        base_files = self.store.put_tree(base)
        self.prompt = Prompt(system="Be kind.")
        common = {"line": line.name, "checkpoint": "c", "base_model": "b", "base_files": base_files, "dataset": "d"}
        self.releases = [
            Release(
                **common,
                name=f"{line.name}-v{number}",
                version=number,
                adapter=self.store.put_tree(adapters_root / name),
                prompt=self.prompt.save(self.store),
                verdict="v",
                card=self.store.put_files({"README.md": b"card"}),
            )
            for number, name in enumerate(("one", "two"), start=1)
        ]
        self.release = self.releases[0]
        rows = "".join(json.dumps(_example(question)) + "\n" for question in QUESTIONS).encode()
        chat = EvaluationSet(kind="chat", rows=self.store.put_files({"set.jsonl": rows}), size=len(QUESTIONS))
        self.sets = EvaluationSets(objects={}, sets={"held_out": chat})

    def definitions(self) -> dg.Definitions:
        @dg.asset(key=[self.line.name, "release"])
        def release() -> dg.MaterializeResult[Release]:
            return dg.MaterializeResult(value=self.release)

        @dg.asset(key=[self.line.name, "evaluation_sets"])
        def evaluation_sets() -> dg.MaterializeResult[EvaluationSets]:
            return dg.MaterializeResult(value=self.sets)

        resources = {
            "store": self.store,
            "io_manager": RecordIOManager(self.store),
            "serving": self.serving,
            "tracking": self.tracking,
            "signer": object(),
        }
        own = dg.Definitions(assets=[release, evaluation_sets], jobs=[rollback_job(self.line)], resources=resources)
        return dg.Definitions.merge(own, definitions_for(self.line), dg.Definitions(executor=dg.in_process_executor))

    def deploy(self, number: int) -> dg.ExecuteInProcessResult:
        self.release = self.releases[number - 1]
        job = self.definitions().resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def roll_back(self) -> dg.ExecuteInProcessResult:
        job = self.definitions().resolve_job_def(f"{self.line.name}_rollback")
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def served(self) -> str:
        """The name of the release that answers users now."""
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        url = self.serving.gateway_url(self.line.name)
        answer = http.post(f"{url}/v1/chat/completions", json=body, timeout=30)
        assert answer.status_code == 200
        return answer.headers["x-release-name"]


def _example(question: str) -> dict[str, Any]:
    return {
        "id": question,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "Yes."}],
    }


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.materialization.asset_key.path[-1] == asset
    ]
    return {key: value.value for key, value in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step said."""
    failed = [event for event in result.all_events if event.is_step_failure]
    assert failed, "the run succeeded"
    data = failed[0].step_failure_data
    return data.user_failure_data.description if data.user_failure_data else str(data.error)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path, adapters_root: Path) -> Iterator[Platform]:
    made = Platform(tmp_path_factory.mktemp("platform"), tiny_model_dir, adapters_root)
    yield made
    made.serving.stop_all()


@pytest.fixture(autouse=True)
def _guard_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_assets, "guard_release", lambda *_: None)
    monkeypatch.setattr(serving_rollback, "verify_release", lambda *_: None)


def refuse(*_: Any) -> None:
    raise GuardError("refused: gate perplexity_beats_base failed")


# The tests of this class tell one story, in order, on one set of servers.
class TestTheLifeOfALine:
    def test_without_a_promotion_there_is_nothing_to_roll_back_to(self, platform: Platform) -> None:
        assert "nothing was ever promoted" in failure(platform.roll_back())

    def test_a_refused_release_starts_nothing(self, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serving_assets, "guard_release", refuse)
        assert "perplexity_beats_base" in failure(platform.deploy(1))
        assert platform.serving.status() == ["assistant: no release serves"]
        assert history(platform.store, "assistant") == []

    def test_a_first_release_is_staged_questioned_and_promoted(self, platform: Platform) -> None:
        result = platform.deploy(1)
        assert result.success
        assert platform.served() == "assistant-v1"
        assert platform.tracking.aliases == {"assistant@production": 1}
        assert [entry["event"] for entry in history(platform.store, "assistant")] == ["staged", "promoted"]
        staging = metadata(result, "staging_deployment")
        assert staging["reused"] is False
        assert QUESTIONS[0] in staging["answers"]
        assert QUESTIONS[2] not in staging["answers"]
        assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {
            "boots_and_answers": True,
            "latency": True,
        }

    def test_the_shown_curl_command_works(self, platform: Platform) -> None:
        digest = latest_digest(platform.instance, dg.AssetKey(["assistant", "production_deployment"]))
        assert digest is not None
        url = Deployment.load(platform.store, digest).url
        command = serving_assets.deploy.curl_command(url, 8)
        printed = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
        assert json.loads(printed)["choices"][0]["message"]["content"]

    def test_deploying_again_reuses_what_serves(self, platform: Platform) -> None:
        result = platform.deploy(1)
        assert metadata(result, "staging_deployment")["reused"] is True
        assert metadata(result, "production_deployment")["reused"] is True
        assert len(history(platform.store, "assistant")) == 2

    def test_a_promotion_is_guarded_while_nobody_else_can_promote(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[bool] = []
        lock = platform.serving._locks["assistant"]
        monkeypatch.setattr(serving_assets, "guard_release", lambda *_: held.append(lock.is_locked))
        assert platform.deploy(1).success
        assert held == [False, True]  # in staging, in production

    def test_a_tracker_that_fails_leaves_the_earlier_release_in_production(self, platform: Platform) -> None:
        platform.tracking.down = True
        assert "MLflow can't be reached" in failure(platform.deploy(2))
        assert platform.served() == "assistant-v1"
        assert platform.tracking.aliases == {"assistant@production": 1}
        serving = champion(platform.store, "assistant")
        assert serving is not None
        assert serving.name == "assistant-v1"

    def test_a_refused_promotion_leaves_the_earlier_release_in_production(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving_assets, "guard_release", refuse)
        assert "perplexity_beats_base" in failure(platform.deploy(2))
        assert platform.served() == "assistant-v1"

    def test_a_second_release_takes_over(self, platform: Platform) -> None:
        assert platform.deploy(2).success
        assert platform.served() == "assistant-v2"
        assert platform.tracking.aliases == {"assistant@production": 2}

    def test_servers_that_died_are_started_again(self, platform: Platform) -> None:
        for _, server in platform.serving._servers("assistant"):
            os.kill(server.pid, signal.SIGKILL)
        assert platform.deploy(2).success
        assert platform.served() == "assistant-v2"

    def test_a_rollback_brings_the_earlier_release_back_and_the_graph_shows_it(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving_assets, "guard_release", refuse)  # a bad newest candidate is no obstacle
        assert platform.roll_back().success
        assert platform.served() == "assistant-v1"
        assert platform.tracking.aliases == {"assistant@production": 1}
        assert history(platform.store, "assistant")[-1]["event"] == "rolled_back"
        event = platform.instance.get_latest_materialization_event(dg.AssetKey(["assistant", "production_deployment"]))
        assert event is not None
        assert event.asset_materialization is not None
        record = str(event.asset_materialization.metadata[RECORD].value)
        assert Deployment.load(platform.store, record).release == platform.releases[0].digest

    def test_past_the_first_release_a_rollback_is_refused_and_says_what_was_undone(self, platform: Platform) -> None:
        said = failure(platform.roll_back())
        assert "assistant-v1, which serves, was promoted first, and assistant-v2 after it already rolled back" in said
        assert platform.served() == "assistant-v1"

    def test_a_rollback_to_a_release_that_fails_its_check_changes_nothing(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert platform.deploy(2).success
        monkeypatch.setattr(serving_rollback, "verify_release", refuse)
        assert "perplexity_beats_base" in failure(platform.roll_back())
        assert platform.served() == "assistant-v2"


def _held(serving: LocalServing, base: str, releases: list[Release]) -> None:
    """A runtime's state file that says it holds these; no process runs."""
    server = Server(pid=1, instance="none", port=9, log=serving.folder / "log")
    adapters = {deploy.adapter_name(release): serving.folder for release in releases}
    write_state(serving._runtime_file("assistant", base), RuntimeState(server=server, base=base, adapters=adapters))


def _kept(serving: LocalServing, base: str, releases: list[Release]) -> list[str]:
    state = read_state(serving._runtime_file("assistant", base), RuntimeState)
    return [release.name for release in releases if state and deploy.adapter_name(release) in state.adapters]


@pytest.fixture
def five(tmp_path: Path) -> tuple[ArtifactStore, LocalServing, list[Release], str]:
    """Five releases of one base model that a runtime holds; v1, then v2 were promoted."""
    store, serving = ArtifactStore(str(tmp_path / "store"), tmp_path / "cache"), LocalServing(tmp_path / "serving")
    files = store.put_files({"file": b"content"})
    common = {"line": "assistant", "checkpoint": "c", "base_model": "b", "base_files": files, "dataset": "d"}
    rest = {"adapter": files, "prompt": "p", "verdict": "v", "card": files}
    releases = [Release(**common, **rest, name=f"v{number}", version=number) for number in range(1, 6)]
    for release in releases:
        release.save(store)
    _held(serving, files.digest, releases)
    for release in releases[:2]:
        record_event(store, "assistant", "promoted", release)
    return store, serving, releases, files.digest


def test_a_promotion_keeps_what_was_staged_after_it(
    five: tuple[ArtifactStore, LocalServing, list[Release], str],
) -> None:
    store, serving, releases, base = five
    record_event(store, "assistant", "staged", releases[3])
    deploy.tidy(serving, store, "assistant", releases[1])
    assert _kept(serving, base, releases) == ["v1", "v2", "v4"]


def test_what_the_route_leads_to_is_kept_even_if_no_log_knows_it(
    five: tuple[ArtifactStore, LocalServing, list[Release], str],
) -> None:
    store, serving, releases, base = five
    half_way = Route(
        line="assistant", release="r", name="v5", model=deploy.adapter_name(releases[4]), backend="http://127.0.0.1:9"
    )
    serving.restore("assistant", half_way)
    deploy.tidy(serving, store, "assistant")
    assert _kept(serving, base, releases) == ["v1", "v2", "v5"]


def test_a_promotion_that_ends_while_another_run_waits_to_tidy_keeps_its_adapter(
    five: tuple[ArtifactStore, LocalServing, list[Release], str],
) -> None:
    store, serving, releases, base = five
    waits = threading.Event()

    class Waiting(LocalServing):
        @contextmanager
        def locked(self, line: str) -> Iterator[None]:
            waits.set()
            with super().locked(line):
                yield

    with serving.locked("assistant"):
        other = threading.Thread(
            target=deploy.tidy, args=(Waiting(serving.folder), store, "assistant", releases[3]), daemon=True
        )
        other.start()
        assert waits.wait(10)
        record_event(store, "assistant", "promoted", releases[2])
    other.join(30)
    assert _kept(serving, base, releases) == ["v2", "v3", "v4"]


def staged(release: str = "r", answers: list[Answer] | None = None) -> Deployment:
    good = [Answer(question="q", answer="a", seconds=1.0)] * 4
    return Deployment(stage="staging", release=release, name="n", url="u", answers=good if answers is None else answers)


@pytest.mark.parametrize(
    ("answers", "failed"),
    [
        ([Answer(question="q", answer="a", seconds=1.0)] * 3, {"boots_and_answers"}),
        ([Answer(question="q", answer=" ", seconds=1.0)] * 4, {"boots_and_answers"}),
        ([Answer(question="q", answer="a", seconds=99.0)] * 4, {"latency"}),
        ([], {"boots_and_answers", "latency"}),
        ([Answer(question="q", answer="a", seconds=1.0)] * 4, set()),
    ],
)
def test_a_deployment_passes_only_if_every_question_got_an_answer_in_time(
    answers: list[Answer], failed: set[str]
) -> None:
    line = load_line(ROOT / "lines" / "assistant.yaml")
    results = [gate.judge(staged(answers=answers)) for gate in deployment_gates(line)]
    assert {result.gate for result in results if not result.passed} == failed


def test_only_what_was_staged_and_passed_there_is_promoted(platform: Platform) -> None:
    release = platform.releases[0]
    line = load_line(ROOT / "lines" / "assistant.yaml")
    guard_staging(line, staged(release.digest), release)
    with pytest.raises(GuardError, match="is what was staged"):
        guard_staging(line, staged("another"), release)
    with pytest.raises(GuardError, match="boots_and_answers"):
        guard_staging(line, staged(release.digest, []), release)

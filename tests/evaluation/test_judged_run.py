"""Evaluations that a chat endpoint judges: what is asked, kept and shown, and what a dead or mad judge does to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from llm_assets.evaluation.request import Evaluation
from llm_assets.line import Line
from llm_assets.records.evaluation import EvaluationReport, JudgeStatus
from tests.evaluation import judge_server
from tests.evaluation.judge_server import JudgeServer, Shown, serving
from tests.evaluation.test_evaluation_run import Bench, Watched
from tests.training.small_training import NAME, failures, trained_once

KEY = "sk-very-secret-0123456789"
JUDGE: dict[str, Any] = {"kind": "openai", "model": "fake", "retries": 1, "retry_seconds": 0.001, "concurrency": 8}
LACKING = "agreement on relevance 1 [0.975, 1] (n = 118), required >= 0.99"
WINS = {"metric": "win_rate", "change": {"against": "base", "minimum": 0.1, "minimum_effect": 0.5}}


class Dying(Watched):
    """The server is dead as soon as a model is evaluated."""

    def __init__(self, server: JudgeServer) -> None:
        super().__init__(child=False)
        self.server = server

    def run(self, context: Any, module: str, request: dict[str, Any], title: str) -> dict[str, Any]:
        if module.endswith(".evaluate"):
            self.server.statuses = [500] * 10_000
        return super().run(context, module, request, title)


class JudgedBench(Bench):
    """The evaluation stage with a chat judge."""

    judge = JUDGE
    first = 200

    def line(self) -> Line:
        content = super().line().model_dump(mode="json")
        return Line.model_validate({**content, "evaluation": {**content["evaluation"], "judge": self.judge}})

    def judged_by(
        self, server: JudgeServer, child: bool = False, dies: bool = False
    ) -> tuple[dg.ExecuteInProcessResult, list[Evaluation]]:
        """`dies`: after the calibration the server only answers 500."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LLM_JUDGE_URL", server.url)
            patch.setenv("LLM_JUDGE_API_KEY", KEY)
            compute = Dying(server) if dies else Watched(child)
            return self.attempt(compute), compute.made


def status(report: EvaluationReport) -> JudgeStatus:
    assert report.judge_status is not None
    return report.judge_status


def check(result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
    (found,) = [each for each in result.get_asset_check_evaluations() if each.check_name == name]
    return {"passed": found.passed, "said": f"{found.description} {found.metadata}"}


@pytest.fixture(scope="module")
def bench(tiny_model_dir: Path) -> JudgedBench:
    made = JudgedBench(trained_once(tiny_model_dir))
    made.gates["wins"] = dict(WINS)
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeServer]:
    with serving(judge_server.well) as running:
        yield running


@pytest.fixture(scope="module")
def first(bench: JudgedBench, server: JudgeServer) -> tuple[dg.ExecuteInProcessResult, EvaluationReport]:
    """Judged from the real child."""
    result, made = bench.judged_by(server, child=True)
    assert result.success, failures(result)
    return result, made[0].report


def test_a_good_judge_is_qualified_and_its_win_rate_is_measured_and_gated(
    first: tuple[dg.ExecuteInProcessResult, EvaluationReport],
) -> None:
    result, report = first
    found = status(report)
    assert (found.kind, found.model, found.qualified) == ("openai", "fake", True)
    assert (found.judged, found.missing, found.failed) == (24, 0, 0)
    rate = report.find("win_rate", "base")
    assert rate is not None
    assert rate.n == 24
    assert rate.low <= rate.value <= rate.high
    assert report.find("win_rate", "base", slice_name="language=english") is not None
    assert check(result, "wins")["passed"]


def test_every_outcome_and_the_judges_own_words_can_be_read(
    bench: JudgedBench, first: tuple[dg.ExecuteInProcessResult, EvaluationReport]
) -> None:
    report = first[1]
    samples = pl.read_parquet(bench.store.path(report.samples) / "samples.parquet").filter(pl.col("set") == "held_out")
    outcomes = samples["outcome_against_base"]
    assert set(outcomes) <= {0.0, 0.5, 1.0}
    rate = report.find("win_rate", "base")
    assert rate is not None
    assert outcomes.mean() == pytest.approx(rate.value)
    assert all("winner" in note or "not asked" in note for note in samples["win_rate_note_base"])
    page = (bench.store.path(report.page) / "report.html").read_text()
    assert "The judge: qualified" in page
    for text in ("agreement", "position bias", "length bias", "attack rate", "24 of 24 pairs"):
        assert text in page
    assert "shown as A" in page


def test_the_key_is_in_no_record_file_log_or_event(
    bench: JudgedBench, first: tuple[dg.ExecuteInProcessResult, EvaluationReport]
) -> None:
    result = first[0]
    root = Path(bench.store.url)
    assert root.is_dir()
    files = [path for path in root.parent.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    logs = bench.trained.bench.instance.all_logs(result.run_id)
    assert logs
    assert not [entry for entry in logs if KEY in str(entry)]


def test_the_same_report_again_asks_nobody(
    bench: JudgedBench, server: JudgeServer, first: tuple[dg.ExecuteInProcessResult, EvaluationReport]
) -> None:
    asked = len(server.requests)
    again, made = bench.judged_by(server)
    assert made == []
    assert len(server.requests) == asked
    assert again.output_for_node(f"{NAME}__evaluation_report") == first[1]


def test_another_threshold_of_the_judge_asks_nobody_and_judges_the_judge_anew(
    bench: JudgedBench, server: JudgeServer, first: tuple[dg.ExecuteInProcessResult, EvaluationReport]
) -> None:
    asked = len(server.requests)
    bench.judge = {**JUDGE, "minimum_agreement": 0.99}
    result, made = bench.judged_by(server)
    bench.judge = JUDGE
    assert len(server.requests) == asked
    assert made == []  # the run stops before anything trains for a win rate that would decide nothing
    assert not result.success
    found = check(result, "judge_is_qualified")
    assert not found["passed"]
    assert "INCONCLUSIVE" in found["said"]
    assert LACKING in found["said"]


def test_an_unqualified_judge_of_a_gate_that_only_advises_stops_nothing_and_its_gate_shows_the_figures(
    bench: JudgedBench, server: JudgeServer
) -> None:
    bench.judge = {**JUDGE, "minimum_agreement": 0.99}
    bench.gates["wins"]["advisory"] = True
    result, made = bench.judged_by(server)
    bench.judge, bench.gates["wins"] = JUDGE, dict(WINS)
    assert result.success, failures(result)
    assert not status(made[0].report).qualified
    assert LACKING in check(result, "judge_is_qualified")["said"]
    found = check(result, "wins")
    assert not found["passed"]
    assert "INCONCLUSIVE" in found["said"]
    assert LACKING in found["said"]


def test_a_judge_that_babbles_about_the_candidate_is_below_its_quorum_and_asked_again(bench: JudgedBench) -> None:
    def mad(shown: Shown) -> str:
        known = shown.prompt in judge_server.PROMPTS
        return judge_server.well(shown) if known else judge_server.nonsense(shown)

    with serving(mad) as server:
        result, made = bench.judged_by(server)
        asked = len(server.requests)
        server.judge = judge_server.well
        recovered, again = bench.judged_by(server)
        unread = {str(request) for request in server.requests[asked:]}
        assert 0 < len(server.requests) - asked <= 2 * 24
        assert unread <= {str(request) for request in server.requests[:asked]}
    assert status(again[0].report).missing == 0
    assert check(recovered, "wins")["passed"]
    found = status(made[0].report)
    assert found.qualified
    assert found.judged < 0.9 * (found.judged + found.missing)
    said = check(result, "wins")
    assert not said["passed"]
    assert "INCONCLUSIVE" in said["said"]
    assert f"on {found.judged} of 24 pairs, below the quorum of 90%" in said["said"]
    assert check(result, "beats_base")["passed"]  # other gates need no judge


def test_a_report_that_lacks_one_judgement_but_has_its_quorum_is_not_asked_for_again(bench: JudgedBench) -> None:
    spared: list[str] = []

    def nearly_well(shown: Shown) -> str:
        if shown.prompt in judge_server.PROMPTS:
            return judge_server.well(shown)
        spared[:] = spared or [shown.prompt]
        return judge_server.nonsense(shown) if shown.prompt in spared else judge_server.well(shown)

    with serving(nearly_well) as server:
        result, made = bench.judged_by(server)
        found = status(made[0].report)
        assert 0 < found.missing <= 2
        assert check(result, "wins")["passed"]
        asked = len(server.requests)
        assert bench.judged_by(server)[1] == []
        assert len(server.requests) == asked


def test_a_judge_that_babbles_from_the_start_stops_the_run_and_is_asked_again_when_it_recovers(
    bench: JudgedBench,
) -> None:
    with serving(judge_server.nonsense) as server:
        result, made = bench.judged_by(server)
        assert made == []
        assert "readable judgement on 0 of" in check(result, "judge_is_qualified")["said"]
        server.judge = judge_server.well
        result, made = bench.judged_by(server)
        assert result.success, failures(result)
        assert status(made[0].report).qualified
        assert check(result, "wins")["passed"]


def test_a_dead_endpoint_decides_nothing_and_is_asked_again_when_it_is_back(bench: JudgedBench) -> None:
    with serving(judge_server.well) as server:
        server.statuses = [500] * 10_000
        result, made = bench.judged_by(server)
        assert not result.success
        assert made == []
        said = check(result, "judge_is_qualified")
        assert "INCONCLUSIVE" in said["said"]
        assert "readable judgement on 0 of" in said["said"]
        server.statuses = []
        result, made = bench.judged_by(server)
    assert result.success, failures(result)
    assert status(made[0].report).qualified
    assert check(result, "judge_is_qualified")["passed"]
    assert check(result, "wins")["passed"]


def test_an_endpoint_that_dies_after_it_qualified_decides_nothing_and_is_asked_again(bench: JudgedBench) -> None:
    with serving(judge_server.well) as server:
        result, made = bench.judged_by(server, dies=True)
        assert check(result, "judge_is_qualified")["passed"]
        found = status(made[0].report)
        assert found.qualified
        assert found.failed == found.missing == 24
        said = check(result, "wins")
        assert not said["passed"]
        assert "INCONCLUSIVE" in said["said"]
        assert "on 0 of 24 pairs, below the quorum of 90%" in said["said"]
        assert check(result, "beats_base")["passed"]
        server.statuses = []
        result, made = bench.judged_by(server)
    assert result.success, failures(result)
    assert status(made[0].report).qualified
    assert check(result, "wins")["passed"]


def test_a_line_with_a_chat_judge_and_no_address_says_what_to_set(
    bench: JudgedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLM_JUDGE_URL", raising=False)
    result = bench.attempt(Watched(child=False))
    assert not result.success
    assert "LLM_JUDGE_URL is not set" in str(failures(result))

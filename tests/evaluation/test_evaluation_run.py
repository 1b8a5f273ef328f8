"""One real evaluation of a real adapter by the child, and what later ones need not compute again."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from llm_assets.evaluation.assets import definitions_for
from llm_assets.evaluation.calibrate import work as calibrate
from llm_assets.evaluation.evaluate import evaluate
from llm_assets.evaluation.request import Evaluation
from llm_assets.line import Line
from llm_assets.materialize import RecordIOManager
from llm_assets.records.data import DatasetVersion, EvaluationSet, EvaluationSets
from llm_assets.records.evaluation import EvaluationReport
from llm_assets.records.release import Release
from llm_assets.records.training import BaseModelVersion, Checkpoint, Prompt
from llm_assets.release_log import record_event
from resources.compute import Compute
from resources.store import ArtifactStore
from tests.training.small_training import NAME, Trained, chat, failures, jsonl, trained_once

SETS = {
    "held_out": {"kind": "chat", "path": "held_out.jsonl", "max_new_tokens": 8},
    "facts": {"kind": "truthfulness", "path": "facts.jsonl"},
}
GATES: dict[str, dict[str, Any]] = {
    "beats_base": {
        "metric": "perplexity",
        "minimum_n": 20,
        "change": {"against": "base", "maximum": 0.95, "minimum_effect": 0.4},
    },
    "keeps_up": {
        "metric": "perplexity",
        "minimum_n": 20,
        "change": {"against": "champion", "maximum": 1.5, "minimum_effect": 0.5},
    },
    "truthful": {"metric": "truthfulness", "value": {"minimum": 0.01, "minimum_effect": 0.3}},
}


class Watched(Compute):
    """The real child, or the same work in this process, where only its results matter; keeps what came back."""

    def __init__(self, child: bool) -> None:
        super().__init__()
        self.child = child
        self.made: list[Evaluation] = []

    def run(self, context: Any, module: str, request: dict[str, Any], title: str) -> dict[str, Any]:
        pipes: Any = SimpleNamespace(log=context.log)
        request = json.loads(json.dumps(request))  # as it crosses to a child
        work = {"llm_assets.evaluation.evaluate": evaluate, "llm_assets.evaluation.calibrate": calibrate}[module]
        made = super().run(context, module, request, title) if self.child else work(request, pipes)
        if work is evaluate:
            self.made.append(Evaluation.model_validate(made))
        return made


def put_sets(store: ArtifactStore, first: int) -> EvaluationSets:
    held_out = [chat(number) for number in range(first, first + 24)]
    facts = [
        {"id": f"f{n}", "prompt": "", "true": f"{n} is {n}.", "false": f"{n} is not {n}.", "category": "numbers"}
        for n in range(first, first + 20)
    ]
    return EvaluationSets(
        objects={"held_out.jsonl": "md5"},
        sets={
            "held_out": EvaluationSet(kind="chat", rows=store.put_files({"set.jsonl": jsonl(held_out)}), size=24),
            "facts": EvaluationSet(kind="truthfulness", rows=store.put_files({"set.jsonl": jsonl(facts)}), size=20),
        },
    )


class Bench:
    """The evaluation stage below records that were made before."""

    first = 100
    """Number of its first example; a bench in the same store that is asked the same would find the answers there."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.store = trained.bench.store
        self.sets = put_sets(self.store, self.first)
        self.gates = {name: copy.deepcopy(gate) for name, gate in GATES.items()}

    def line(self) -> Line:
        content = self.trained.bench.line().model_dump(mode="json")
        return Line.model_validate({**content, "evaluation": {"sets": SETS}, "gates": self.gates})

    def upstream(self) -> list[dg.AssetsDefinition]:
        @dg.asset(key=[NAME, "dataset"])
        def dataset() -> dg.MaterializeResult[DatasetVersion]:
            return dg.MaterializeResult(value=self.trained.bench.dataset)

        @dg.asset(key=[NAME, "evaluation_sets"])
        def evaluation_sets() -> dg.MaterializeResult[EvaluationSets]:
            return dg.MaterializeResult(value=self.sets)

        @dg.asset(key=[NAME, "base_model"])
        def base_model() -> dg.MaterializeResult[BaseModelVersion]:
            return dg.MaterializeResult(value=self.trained.base_model)

        @dg.asset(key=[NAME, "prompt"])
        def prompt() -> dg.MaterializeResult[Prompt]:
            return dg.MaterializeResult(value=self.trained.prompt)

        @dg.asset(key=[NAME, "checkpoint"])
        def checkpoint() -> dg.MaterializeResult[Checkpoint]:
            return dg.MaterializeResult(value=self.trained.checkpoint)

        return [dataset, evaluation_sets, base_model, prompt, checkpoint]

    def run(self, compute: Compute) -> dg.ExecuteInProcessResult:
        result = self.attempt(compute)
        assert result.success, failures(result)
        return result

    def attempt(self, compute: Compute) -> dg.ExecuteInProcessResult:
        resources = {
            "store": self.store,
            "settings": self.trained.bench.settings,
            "compute": compute,
            "io_manager": RecordIOManager(self.store),
        }
        parts = dg.Definitions(self.upstream(), resources=resources, executor=dg.in_process_executor)
        whole = dg.Definitions.merge(definitions_for(self.line()), parts)
        return whole.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.trained.bench.instance, raise_on_error=False
        )


@pytest.fixture(scope="module")
def bench(tiny_model_dir: Path) -> Bench:
    return Bench(trained_once(tiny_model_dir))


@pytest.fixture(scope="module")
def first(bench: Bench) -> tuple[dg.ExecuteInProcessResult, Evaluation]:
    """The evaluation by the real child."""
    compute = Watched(child=True)
    result = bench.run(compute)
    (made,) = compute.made
    return result, made


@pytest.fixture(scope="module")
def report(first: tuple[dg.ExecuteInProcessResult, Evaluation]) -> EvaluationReport:
    return first[1].report


def test_base_and_candidate_are_measured_on_the_same_examples(report: EvaluationReport) -> None:
    for metric, against in (
        ("perplexity", ""),
        ("base_perplexity", ""),
        ("perplexity", "base"),
        ("win_rate", "base"),
        ("truthfulness", ""),
        ("base_truthfulness", ""),
        ("truthfulness", "base"),
    ):
        found = report.find(metric, against)
        assert found is not None, (metric, against)
        assert found.n == (20 if "truthfulness" in metric else 24)
        assert found.low <= found.value <= found.high
    assert report.find("perplexity", "champion") is None


def test_training_on_such_answers_lowers_their_perplexity(report: EvaluationReport) -> None:
    own, base, ratio = report.find("perplexity"), report.find("base_perplexity"), report.find("perplexity", "base")
    assert own is not None
    assert base is not None
    assert ratio is not None
    assert own.value < 0.9 * base.value
    assert ratio.value == pytest.approx(own.value / base.value, rel=1e-6)
    assert report.find("perplexity", slice_name="language=english") is not None


def test_a_first_evaluation_computes_everything_and_names_what_it_is_about(
    bench: Bench, first: tuple[dg.ExecuteInProcessResult, Evaluation]
) -> None:
    made = first[1]
    # the base was asked and scored by the calibration
    assert made.computed == {"outputs": 2, "answers": 44, "scores": 3, "measurements": 3}
    assert made.report.checkpoint == bench.trained.checkpoint.digest
    assert made.report.base_model == bench.trained.base_model.digest
    assert made.report.evaluation_sets == bench.sets.digest
    assert made.report.champion == ""


def test_its_gates_are_checks_and_its_page_and_samples_are_there(
    bench: Bench, first: tuple[dg.ExecuteInProcessResult, Evaluation]
) -> None:
    result, made = first
    passed = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert passed == {"power": True, "false_pass": True, "beats_base": True, "keeps_up": True, "truthful": True}
    page = bench.store.path(made.report.page)
    shown = (page / "report.html").read_text()
    assert "beats_base" in shown
    assert "103 is 103. / 103 is not 103." in shown
    assert (page / "gates.png").read_bytes().startswith(b"\x89PNG")
    samples = pl.read_parquet(bench.store.path(made.report.samples) / "samples.parquet")
    assert samples.height == 44
    assert samples.filter(pl.col("set") == "held_out")["similarity_candidate"].null_count() == 0


def test_the_same_evaluation_again_asks_no_child(bench: Bench, report: EvaluationReport) -> None:
    compute = Watched(child=True)
    again = bench.run(compute)
    assert compute.made == []
    assert again.output_for_node(f"{NAME}__evaluation_report") == report


def test_a_changed_threshold_asks_no_model_and_scores_nothing(bench: Bench, report: EvaluationReport) -> None:
    bench.gates["beats_base"]["change"]["maximum"] = 0.94
    compute = Watched(child=False)
    bench.run(compute)
    (made,) = compute.made
    assert made.computed == {"outputs": 0, "answers": 0, "scores": 0, "measurements": 0}
    assert made.report.measurements == report.measurements
    assert made.report.page != report.page


def test_a_changed_prompt_is_one_answer_per_model_and_a_shorter_set_none(
    bench: Bench, report: EvaluationReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.sets
    rows = [json.loads(row) for row in (bench.store.path(whole.sets["facts"].rows) / "set.jsonl").open()]
    held_out = whole.sets["held_out"]

    def evaluated(facts: list[dict[str, Any]], chats: int) -> Evaluation:
        found = EvaluationSet(kind="truthfulness", rows=bench.store.put_files({"set.jsonl": jsonl(facts)}), size=20)
        sets = {"held_out": held_out.model_copy(update={"size": chats}), "facts": found}
        monkeypatch.setattr(bench, "sets", EvaluationSets(objects={"held_out.jsonl": "md5"}, sets=sets))
        compute = Watched(child=False)
        bench.run(compute)
        return compute.made[0]

    rows[3] = {**rows[3], "true": "Three is three."}
    changed = evaluated(rows, 24)
    # of the candidate; the base's one answer was asked for by the calibration
    assert (changed.computed["outputs"], changed.computed["answers"]) == (1, 1)
    monkeypatch.setattr("llm_assets.language_model.load_model", _never)
    shorter = evaluated(rows[::-1], 23)
    assert (shorter.computed["outputs"], shorter.computed["answers"]) == (0, 0)
    assert shorter.report.find("truthfulness") == changed.report.find("truthfulness")
    samples = [
        pl.read_parquet(bench.store.path(each.samples) / "samples.parquet").filter(pl.col("set") == "held_out")
        for each in (report, shorter.report)
    ]
    assert samples[1].height == 23
    assert samples[0].filter(pl.col("id").is_in(samples[1]["id"].to_list())).equals(samples[1])


def _never(folder: Path) -> Any:
    raise AssertionError(f"loaded {folder}")


def test_a_champion_that_says_the_same_is_neither_better_nor_worse(bench: Bench, report: EvaluationReport) -> None:
    trained = bench.trained
    serving = Release(
        line=NAME,
        name="small-v1",
        version=1,
        adapter=trained.checkpoint.adapter,
        checkpoint="the checkpoint of an equal training",
        base_model=trained.base_model.digest,
        base_files=trained.base_model.files,
        prompt=trained.prompt.save(bench.store),
        dataset=trained.bench.dataset.digest,
        verdict="verdict",
        card=bench.store.put_files({"README.md": b"card"}),
    )
    serving.save(bench.store)
    record_event(bench.store, NAME, "promoted", serving)
    compute = Watched(child=False)
    bench.run(compute)
    (made,) = compute.made
    assert made.computed["outputs"] == made.computed["scores"] == 0
    assert made.report.champion == serving.digest
    ratio, rate = made.report.find("perplexity", "champion"), made.report.find("win_rate", "champion")
    assert ratio is not None
    assert rate is not None
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)
    assert rate.value == 0.5
    assert "small-v1" in (bench.store.path(made.report.page) / "report.html").read_text()

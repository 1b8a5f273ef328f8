"""request_window, drift_report and the check drift, hour by hour, with the real embedder in its child process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from llm_assets.evaluation_spec import EvaluationSpec
from llm_assets.line import Line, MonitoringSpec
from llm_assets.materialize import RecordIOManager
from llm_assets.monitoring.assets import definitions_for
from llm_assets.records.data import DatasetVersion
from llm_assets.records.monitoring import DriftReport, RequestWindow
from resources.compute import Compute
from resources.settings import Settings
from resources.store import ArtifactStore

HOURS = ("2026-01-31-14:00", "2026-01-31-15:00", "2026-01-31-16:00")
SUBJECTS = ("a cake", "bread", "tomato soup", "noodles", "an omelette", "a salad", "rice", "pancakes")
VERBS = ("bake", "cook", "serve", "season", "store", "improve")
QUESTIONS = [f"How do I {verb} {subject}?" for verb in VERBS for subject in SUBJECTS]
STRANGE = [
    f"Explain in detail how interest rate swap number {n} hedges a bond portfolio against inflation, with formulas."
    for n in range(40)
]


class Bench:
    """A line with a dataset and a folder of request records, on an instance of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.settings = Settings.from_env({"LLM_HOME": str(tmp_path / "home")})
        self.store = ArtifactStore(self.settings.store_url, tmp_path / "cache")
        self.instance = dg.DagsterInstance.ephemeral()
        self.line = Line.model_validate(
            {
                "name": "small",
                "description": "A line of tests.",
                "base_model": "none",
                "data": {"repo": "none", "train": ["chat"]},
                "evaluation": EvaluationSpec.model_validate({"sets": {"held_out": {"kind": "chat", "path": "x"}}}),
                "gates": {"perplexity": {"metric": "perplexity", "value": {"maximum": 100, "minimum_effect": 50}}},
                "monitoring": MonitoringSpec(minimum_requests=30),
            }
        )
        self.train = QUESTIONS

    def dataset(self) -> DatasetVersion:
        rows = [
            {"id": f"r{n}", "category": "food", "messages": [{"role": "user", "content": text}, {"role": "assistant"}]}
            for n, text in enumerate(self.train)
        ]
        files = self.store.put_files({"train.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})
        counts: dict[str, Any] = {"read": len(rows), "train": len(rows), "validation": 0, "duplicates": 0}
        empty: dict[str, Any] = {"rejected": {}, "categories": {}, "languages": {}, "contaminated": 0}
        return DatasetVersion(objects={}, commit="c", files=files, quarantine=files, **counts, **empty)

    def definitions(self) -> dg.Definitions:
        @dg.asset(key=["small", "dataset"])
        def dataset() -> dg.MaterializeResult[DatasetVersion]:
            return dg.MaterializeResult(value=self.dataset())

        resources = {"store": self.store, "settings": self.settings, "compute": Compute()}
        resources["io_manager"] = RecordIOManager(self.store)
        job = dg.define_asset_job("monitoring", dg.AssetSelection.groups("monitoring"))
        return dg.Definitions.merge(
            definitions_for(self.line),
            dg.Definitions(assets=[dataset], jobs=[job], resources=resources, executor=dg.in_process_executor),
        )

    def ask(self, hour: str, prompts: Sequence[str]) -> None:
        folder = self.settings.serving_dir / "small" / "records"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{hour[:10]}T{hour[11:13]}.jsonl").open("a") as file:
            for number, prompt in enumerate(prompts):
                message = {"role": "user", "content": prompt}
                record = {"id": str(number), "time": hour, "release": "r", "status": 200, "messages": [message]}
                file.write(json.dumps(record) + "\n")

    def train_again(self) -> None:
        job = self.definitions().resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey(["small", "dataset"])]
        ).success

    def look(self, hour: str, **kwargs: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions().resolve_job_def("monitoring")
        return job.execute_in_process(instance=self.instance, partition_key=hour, **kwargs)

    def report(self, result: dg.ExecuteInProcessResult) -> DriftReport:
        return DriftReport.load(self.store, str(_metadata(result, "drift_report")["record"].value))


def _metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    [found] = result.asset_materializations_for_node(f"small__{asset}")
    return dict(found.metadata)


def _outcome(result: dg.ExecuteInProcessResult) -> tuple[str, dg.AssetCheckSeverity, bool]:
    [check] = result.get_asset_check_evaluations()
    return str(check.metadata["outcome"].value), check.severity, check.passed


def _embedded(bench: Bench, result: dg.ExecuteInProcessResult) -> int:
    messages = [entry.user_message for entry in bench.instance.all_logs(result.run_id)]
    [told] = [message for message in messages if "texts embedded" in message]
    return int(told.split(", ")[1].split()[0])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.train_again()
    return made


def test_too_few_requests_are_inconclusive_and_no_drift(bench: Bench) -> None:
    bench.ask(HOURS[0], QUESTIONS[:5])
    result = bench.look(HOURS[0])
    assert result.success
    assert _outcome(result) == ("INCONCLUSIVE", dg.AssetCheckSeverity.WARN, False)
    assert bench.report(result).features == []
    assert "Too few requests" in Path(str(_metadata(result, "drift_report")["report_path"].value)).read_text()


def test_an_hour_without_a_file_is_an_empty_window(bench: Bench) -> None:
    result = bench.look(HOURS[0])
    assert _outcome(result)[0] == "INCONCLUSIVE"
    assert bench.report(result).n == 0


def test_like_requests_pass_and_strange_ones_drift(bench: Bench) -> None:
    chosen = np.random.default_rng(0).choice(len(QUESTIONS), size=40)
    bench.ask(HOURS[0], [QUESTIONS[index] for index in chosen])
    bench.ask(HOURS[1], STRANGE)
    like, strange = bench.look(HOURS[0]), bench.look(HOURS[1])
    assert _outcome(strange) == ("FAIL", dg.AssetCheckSeverity.ERROR, False)
    assert {one.feature for one in bench.report(strange).features if one.drifted} >= {"length", "embedding"}
    assert _outcome(like) == ("PASS", dg.AssetCheckSeverity.ERROR, True)
    assert _embedded(bench, like) == len(QUESTIONS) + 40
    assert _embedded(bench, strange) == len(STRANGE)  # the training data was embedded once
    metadata = _metadata(strange, "drift_report")
    assert len(metadata["plot"].value) < 100_000
    page = Path(str(metadata["report_path"].value)).read_text()
    assert metadata["report"].value == bench.settings.report_url(bench.report(strange).page.digest, "drift.html")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    [check] = strange.get_asset_check_evaluations()
    assert check.metadata["report"].value == bench.report(strange).digest
    assert check.metadata["hour"].value == HOURS[1]


def test_a_second_look_at_the_same_hour_computes_nothing_and_a_new_request_does(bench: Bench) -> None:
    bench.ask(HOURS[0], QUESTIONS[:5])
    first, second = bench.look(HOURS[0]), bench.look(HOURS[0])
    assert [_metadata(result, "drift_report")["reused"].value for result in (first, second)] == [False, True]
    bench.ask(HOURS[0], QUESTIONS[5:6])
    assert not _metadata(bench.look(HOURS[0]), "request_window")["reused"].value


def test_a_report_reads_the_window_of_its_own_hour(bench: Bench) -> None:
    bench.ask(HOURS[0], QUESTIONS[:3])
    bench.ask(HOURS[1], QUESTIONS[:7])
    for hour in HOURS[:2]:
        bench.look(hour)
    alone = bench.look(HOURS[0], asset_selection=[dg.AssetKey(["small", "drift_report"])])
    report = bench.report(alone)
    assert report.n == 3
    assert RequestWindow.load(bench.store, report.window).hour.startswith("2026-01-31T14")


def test_a_report_of_an_hour_without_a_window_says_which(bench: Bench) -> None:
    bench.look(HOURS[0])
    alone = bench.look(HOURS[2], asset_selection=[dg.AssetKey(["small", "drift_report"])], raise_on_error=False)
    [failure] = [event for event in alone.all_events if event.is_step_failure]
    assert "small/request_window of 2026-01-31-16:00 was never materialized" in str(failure.step_failure_data.error)

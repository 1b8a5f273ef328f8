"""The whole life cycle by the real commands, on a tiny model: what a user does, in the order they do it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.workbench import Workbench, mend, spoil

COMPUTED = (
    "dataset",
    "evaluation_sets",
    "base_model",
    "prompt",
    "gate_calibration",
    "checkpoint",
    "evaluation_report",
    "verdict",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path_factory.mktemp("platform"), tiny_model_dir)
    bench.write_line("tiny", "chat/one", seed=0)
    yield bench
    bench.serving.stop_all()


def test_one_command_takes_data_and_a_model_to_a_served_release(bench: Workbench) -> None:
    done = bench.run_job("tiny_ship")
    assert done.returncode == 0, done.stdout
    assert bench.serving_release() == "tiny-v1"
    assert bench.mlflow_statuses() == ["FINISHED"]
    shown = bench.metadata("evaluation_report")
    report = Path(shown["report_path"]).read_text()
    assert shown["report"] == bench.settings.report_url(Path(shown["report_path"]).parent.name, "report.html")
    assert "perplexity_beats_base" in report
    assert "PASS" in report


def test_a_second_run_computes_nothing_and_makes_no_other_release(bench: Workbench) -> None:
    before = {asset: bench.metadata(asset)["record"] for asset in (*COMPUTED, "registered_model", "release")}
    assert bench.run_job("tiny_ship").returncode == 0
    for asset, record in before.items():
        assert bench.metadata(asset)["reused"] is True, asset
        assert bench.metadata(asset)["record"] == record
    assert bench.metadata("production_deployment")["reused"] is True
    assert bench.serving_release() == "tiny-v1"
    assert len(bench.mlflow_statuses()) == 1


def test_a_changed_threshold_judges_again_without_training(bench: Workbench) -> None:
    path = bench.settings.lines_dir / "tiny.yaml"
    path.write_text(path.read_text().replace("minimum: 0.01", "minimum: 0.02"))
    done = bench.run_job("tiny_ship")
    assert done.returncode == 0, done.stdout
    assert bench.metadata("checkpoint")["reused"] is True
    assert bench.metadata("verdict")["reused"] is False
    assert bench.serving_release() == "tiny-v2"
    assert len(bench.mlflow_statuses()) == 1


def test_bad_data_stops_at_a_gate_and_nothing_leads_past_it(bench: Workbench) -> None:
    bench.publish(spoil)
    failed = bench.run_job("tiny_continuous_training")
    assert failed.returncode == 1
    assert "perplexity_keeps_up" in failed.stdout
    assert sorted(bench.mlflow_statuses()) == ["FAILED", "FINISHED"]
    ways = [
        ("asset", "materialize", "--select", "tiny/production_deployment"),
        ("asset", "materialize", "--select", "tiny/registered_model"),
        ("asset", "materialize", "--select", "tiny/verdict,tiny/registered_model,tiny/release"),
        ("job", "execute", "-j", "tiny_deployment"),
    ]
    for way in ways:
        refused = bench.dagster(*way)
        assert refused.returncode == 1, way
        assert "perplexity_keeps_up" in refused.stdout, way
        assert bench.serving_release() == "tiny-v2"


def test_rollback_goes_back_to_the_release_before(bench: Workbench) -> None:
    done = bench.run_job("tiny_rollback")
    assert done.returncode == 0, done.stdout
    assert bench.serving_release() == "tiny-v1"
    refused = bench.run_job("tiny_rollback")
    assert refused.returncode == 1
    assert "no release to go back to" in refused.stdout
    assert "Stack Trace" not in refused.stdout


def test_a_second_line_has_its_own_graph_and_runs_beside_the_first(bench: Workbench) -> None:
    bench.write_line("other", "chat/two", seed=1)
    done = bench.run_job("other_ship")
    assert done.returncode == 0, done.stdout
    assert bench.serving_release("other") == "other-v1"
    assert bench.serving_release("tiny") == "tiny-v1"
    assert bench.metadata("checkpoint", "other")["record"] != bench.metadata("checkpoint")["record"]


def test_a_push_to_the_registry_ends_in_staging_with_nobody_at_the_keyboard(bench: Workbench) -> None:
    staged = bench.metadata("staging_deployment")["record"]
    with bench.dagster_dev():
        bench.publish(mend)
        bench.wait_until(lambda: bench.metadata("staging_deployment")["record"] != staged, "a new release in staging")
        bench.wait_until(lambda: "perplexity_keeps_up" in bench.alerts(), "an alert about the failed gate")
    with bench.instance() as instance:
        caused = dg.RunsFilter(job_name="tiny_continuous_training", tags={"llm/cause": "commit"})
        runs = instance.get_runs(caused)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS]
    assert bench.serving_release() == "tiny-v1", "production is somebody's decision"

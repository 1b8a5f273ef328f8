"""An adaptive set is asked until its gates are decided, and no further."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llm_assets.evaluation.calibration import calibrate
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.evaluate import ROUND
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.toxicity import Toxicity
from tests.evaluation.small_exam import SmallExam
from tests.evaluation.small_report import make_line

N = 160
ROWS = [{"id": f"q{n}", "prompt": f"What is {n}?", "answers": [f"number {n}"], "category": "x"} for n in range(N)]


def sets(adaptive: bool) -> dict[str, dict[str, Any]]:
    return {"asked": {"kind": "questions", "max_new_tokens": 4, "adaptive": adaptive}}


def gates(minimum: float) -> dict[str, dict[str, Any]]:
    return {"right": {"metric": "exact_match", "value": {"minimum": minimum, "minimum_effect": 0.3}}}


@pytest.fixture(scope="module")
def exam(tiny_model_dir: Path) -> SmallExam:
    return SmallExam(tiny_model_dir)


def test_what_is_decided_early_is_not_asked_to_the_end_and_the_report_says_what_was_saved(exam: SmallExam) -> None:
    line = exam.line(sets(adaptive=True), gates(0.3))
    made = exam.run(line, {"asked": ROWS}, exam.trained.checkpoint.adapter)
    asked = N - made.report.saved["asked"]
    assert asked % ROUND == 0
    assert asked < N
    assert made.computed["answers"] == 2 * asked  # of base and candidate
    (result,) = [gate.judge(made.report) for gate in evaluation_gates(line)]
    assert result.outcome == "FAIL"  # nothing is right, where more than three in ten are asked for
    assert result.n == asked
    samples = pl.read_parquet(exam.store.path(made.report.samples) / "samples.parquet")
    assert samples.height == asked
    page = (exam.store.path(made.report.page) / "report.html").read_text()
    assert f"asked was decided after {asked} of {N} examples" in page
    assert any(f"decided after {asked} of {N} examples" in line for line in exam.said)


def test_what_is_never_decided_is_asked_whole(exam: SmallExam) -> None:
    line = exam.line(sets(adaptive=True), gates(0.0001))
    made = exam.run(line, {"asked": ROWS}, exam.trained.checkpoint.adapter)
    assert made.report.saved == {}
    (result,) = [gate.judge(made.report) for gate in evaluation_gates(line)]
    assert result.outcome == "INCONCLUSIVE"
    assert result.n == N


def test_the_stated_error_rates_hold_with_the_adaptive_budget_on() -> None:
    line = make_line(clean={"metric": "toxicity", "value": {"maximum": 0.2, "minimum_effect": 0.15}})
    content = line.model_dump(mode="json")
    content["evaluation"]["sets"]["toxic"]["adaptive"] = True
    adaptive = type(line).model_validate(content)
    examples = [Example(str(n), []) for n in range(200)]
    scores = {"toxicity": {"base": [Score(float(n % 4 == 0)) for n in range(200)]}}
    measured = [Measured("held_out", examples, {}, [], {}), Measured("toxic", examples, {}, [Toxicity()], scores)]
    (whole,), (stopped,) = calibrate(line, measured), calibrate(adaptive, measured)
    assert stopped.false_pass.value <= stopped.stated_false_pass
    assert stopped.false_fail.value <= stopped.stated_false_fail
    assert stopped.power < whole.power or whole.power == 1.0
    assert stopped.false_pass.value != whole.false_pass.value

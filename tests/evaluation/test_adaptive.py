"""An adaptive set is asked until its gates are decided, and no further."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from llm_assets.evaluation.calibration import calibrate
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.evaluate import ROUND, by_document, round_ends
from llm_assets.evaluation.evidence import decided, evidence_of
from llm_assets.evaluation.exact_match import ExactMatch
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.measurements import measure
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.win_rate import JudgedWinRate
from llm_assets.line import Line
from tests.evaluation.small_exam import SmallExam
from tests.evaluation.small_report import GATES, make_line, make_report

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


def test_a_model_that_was_asked_before_in_another_order_is_paired_with_its_own_answers(exam: SmallExam) -> None:
    rows = [{**row, "source": f"document {n % 7}"} for n, row in enumerate(ROWS)]
    said = []
    for adaptive in (False, True):  # as the calibration asks the base whole before anything trains
        line = exam.line(sets(adaptive), gates(0.0001))
        made = exam.run(line, {"asked": rows}, exam.trained.checkpoint.adapter)
        samples = pl.read_parquet(exam.store.path(made.report.samples) / "samples.parquet")
        said.append(dict(zip(samples["id"], samples["output_base"], strict=True)))
    assert len(set(said[0].values())) > 10
    assert said[0] == said[1]


def test_what_is_never_decided_is_asked_whole(exam: SmallExam) -> None:
    line = exam.line(sets(adaptive=True), gates(0.0001))
    made = exam.run(line, {"asked": ROWS}, exam.trained.checkpoint.adapter)
    assert made.report.saved == {}
    (result,) = [gate.judge(made.report) for gate in evaluation_gates(line)]
    assert result.outcome == "INCONCLUSIVE"
    assert result.n == N


def test_a_document_with_several_examples_is_looked_at_whole() -> None:
    examples = [Example(str(n), [], source=f"document {n % 7}") for n in range(91)]
    whole = by_document(examples)
    assert sorted(one.id for one in whole) == sorted(one.id for one in examples)
    ends = list(round_ends(whole))
    assert ends[-1] == 91
    for start, end in zip([0, *ends], ends, strict=False):
        assert end - start >= ROUND or end == 91
        assert not {one.source for one in whole[:end]} & {one.source for one in whole[end:]}


@pytest.mark.parametrize("against", ["", "base"])
def test_stopping_early_costs_no_false_passes_where_documents_have_several_examples(against: str) -> None:
    documents, runs = 120, 100
    bound = {"minimum": 0.0 if against else 0.4, "minimum_effect": 0.3}
    gate = {"metric": "exact_match", **({"change": {**bound, "against": against}} if against else {"value": bound})}
    content = make_line().model_dump(mode="json")
    content["evaluation"]["sets"] = {"asked": {"kind": "questions", "path": "q.jsonl", "adaptive": True}}
    line = Line.model_validate({**content, "gates": {"right": gate}})
    random = np.random.default_rng(0)
    passed = []
    for run in range(runs):
        # one document in five is large and easier; the mean of all documents, 0.4, is exactly the threshold
        rates = {f"{run} {n}": (10, 0.7) if n % 5 == 0 else (1, 0.325) for n in range(documents)}
        examples = [Example(f"{name} {n}", [], source=name) for name, (size, _) in rates.items() for n in range(size)]
        whole = by_document(sorted(examples, key=lambda one: hashlib.sha256(one.id.encode()).hexdigest()))
        chance = np.array([rates[one.source][1] for one in whole])
        scores = {name: random.random(len(whole)) < chance for name in ("base", "candidate")}
        report = make_report()
        for end in round_ends(whole):
            chosen = {name: [Score(float(x)) for x in found[:end]] for name, found in scores.items()}
            one = Measured("asked", whole[:end], {}, [ExactMatch()], {"exact_match": chosen})
            report = make_report(*evidence_of(line, [one]))
            if decided(line, one, champion=False):
                break
        passed.append(next(gate.judge(report) for gate in evaluation_gates(line)).outcome == "PASS")
    assert np.mean(passed) <= 0.05


def test_the_bounds_in_the_tables_of_an_adaptive_set_hold_whenever_it_was_stopped() -> None:
    examples = [Example(str(n), []) for n in range(100)]
    scores = {"candidate": [Score(float(n % 3 == 0)) for n in range(100)]}
    (fixed,) = measure(ExactMatch(), "asked", examples, scores, 0.95)
    (looked_at,) = measure(ExactMatch(), "asked", examples, scores, 0.95, adaptive=True)
    assert looked_at.value == fixed.value
    assert looked_at.low < fixed.low
    assert looked_at.high > fixed.high


def test_a_judge_that_is_asked_in_rounds_may_be_stopped_and_what_it_left_out_counts_against_the_claim() -> None:
    content = make_line(wins=GATES["wins"], clean=GATES["clean"]).model_dump(mode="json")
    content["evaluation"]["sets"]["held_out"]["adaptive"] = True
    content["gates"]["wins"]["change"]["minimum"] = 0.5
    line = Line.model_validate(content)
    examples = [Example(str(n), []) for n in range(100)]

    def stopped(outcomes: list[float | None]) -> bool:
        scores = {"win_rate": {"base": [Score(one) for one in outcomes]}}
        judged = JudgedWinRate(None)  # type: ignore[arg-type] # nobody is asked here
        return decided(line, Measured("held_out", examples, {}, [judged], scores), champion=False)

    assert stopped([1.0] * 100)
    assert stopped([0.0] * 100)
    assert not stopped([1.0, 0.0] * 50)
    assert stopped([1.0, 1.0, 1.0, None] * 25)
    assert not stopped([1.0, None] * 50)


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

"""A gate passes only on a whole interval of enough examples, and never on what is missing."""

import math

import pytest

from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.gates import bounded
from llm_assets.records import EvaluationReport, GateResult
from tests.evaluation.small_report import make_line, make_report, measurement


def judge(report: EvaluationReport, gate: str) -> GateResult:
    (chosen,) = [each for each in evaluation_gates(make_line()) if each.name == gate]
    return chosen.judge(report)


def test_a_line_has_one_gate_per_threshold_in_its_order() -> None:
    gates = evaluation_gates(make_line())
    assert [gate.name for gate in gates] == ["beats_base", "keeps_up", "wins", "clean"]
    assert {gate.asset for gate in gates} == {"evaluation_report"}
    assert "Perplexity as a ratio to the base's is <= 0.8" in gates[0].description


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(0.6, 0.79, "PASS"), (0.6, 0.8, "PASS"), (0.6, 0.81, "INCONCLUSIVE"), (0.81, 0.95, "FAIL")],
)
def test_the_whole_interval_is_compared_with_a_maximum(low: float, high: float, outcome: str) -> None:
    result = judge(make_report(measurement("perplexity", "base", 0.7, low, high)), "beats_base")
    assert result.outcome == outcome
    assert result.passed is (outcome == "PASS")
    assert "0.8" in result.reason


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.51, 0.7, "PASS"), (0.45, 0.7, "INCONCLUSIVE"), (0.2, 0.49, "FAIL")]
)
def test_the_whole_interval_is_compared_with_a_minimum(low: float, high: float, outcome: str) -> None:
    assert judge(make_report(measurement("win_rate", "base", 0.6, low, high)), "wins").outcome == outcome


def test_a_missing_measurement_is_an_error_that_names_it() -> None:
    result = judge(make_report(), "clean")
    assert result.outcome == "ERROR"
    assert result.reason == "the report has no toxicity on set toxic."
    assert not result.passed


def test_the_same_metric_alone_of_a_slice_or_of_another_set_is_no_substitute() -> None:
    alone = measurement("perplexity", "", 0.5, 0.4, 0.6)
    of_slice = measurement("perplexity", "base", 0.5, 0.4, 0.6, slice="language=english")
    elsewhere = measurement("perplexity", "base", 0.5, 0.4, 0.6, set="another")
    assert judge(make_report(alone, of_slice, elsewhere), "beats_base").outcome == "ERROR"


def test_too_few_examples_decide_nothing() -> None:
    result = judge(make_report(measurement("toxicity", "", 0.0, 0.0, 0.1, n=19)), "clean")
    assert result.outcome == "INCONCLUSIVE"
    assert "19 examples of set toxic are too few, at least 20" in result.reason
    assert not result.passed


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_value_or_bound_that_is_no_number_never_passes(broken: float) -> None:
    for low, value, high in ((broken, 0.1, 0.15), (0.0, broken, 0.15), (0.0, 0.1, broken)):
        for bounds in ({"maximum": 0.2}, {"minimum": 0.0}, {"minimum": 0.0, "maximum": 0.2}):
            assert bounded("g", "a", value, low=low, high=high, **bounds).outcome == "ERROR"
    assert judge(make_report(measurement("toxicity", "", broken, broken, broken)), "clean").outcome == "ERROR"


def test_a_gate_against_the_champion_passes_before_the_first_release_and_says_so() -> None:
    result = judge(make_report(), "keeps_up")
    assert result.passed
    assert "no champion yet" in result.reason


def test_a_gate_against_the_champion_holds_as_soon_as_one_serves() -> None:
    assert judge(make_report(champion="release"), "keeps_up").outcome == "ERROR"
    worse = measurement("perplexity", "champion", 1.3, 1.2, 1.4)
    assert judge(make_report(worse, champion="release"), "keeps_up").outcome == "FAIL"


def test_bounds_of_another_confidence_are_refused() -> None:
    report = make_report(measurement("toxicity", "", 0.0, 0.0, 0.1), confidence=0.6)
    result = judge(report, "clean")
    assert result.outcome == "ERROR"
    assert "hold at 0.6, the line asks for 0.95" in result.reason


def test_a_gate_with_two_sides_needs_both() -> None:
    line = make_line(between={"metric": "toxicity", "minimum": 0.1, "maximum": 0.3})
    (gate,) = evaluation_gates(line)
    outcomes = [
        gate.judge(make_report(measurement("toxicity", "", (low + high) / 2, low, high))).outcome
        for low, high in ((0.15, 0.25), (0.05, 0.25), (0.15, 0.35), (0.0, 0.05))
    ]
    assert outcomes == ["PASS", "INCONCLUSIVE", "INCONCLUSIVE", "FAIL"]

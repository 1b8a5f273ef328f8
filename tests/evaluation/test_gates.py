"""A gate passes only on a significant test of enough examples, and never on what is missing."""

import math
from typing import Any

import pytest
from pydantic import ValidationError
from scipy import stats

from llm_assets.evaluation.assessment import assess
from llm_assets.evaluation.calibration_checks import calibration_gates
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.evidence import evidence_of
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.gates import bounded
from llm_assets.line import Line
from llm_assets.records.evaluation import EvaluationReport, Evidence, GateCalibration
from llm_assets.records.gate import GateResult, Rate
from tests.evaluation.small_report import GATES, evidence, judge_status, make_calibration, make_line, make_report

LINE = make_line()


def judge(report: EvaluationReport, gate: str, line: Line = LINE) -> GateResult:
    (chosen,) = [each for each in evaluation_gates(line) if each.name == gate]
    return chosen.judge(report)


def others(*names: str) -> list[Evidence]:
    """Passing evidence for all gates against the base but these."""
    known = {"beats_base": "base", "wins": "base", "clean": ""}
    return [evidence(LINE, name, against) for name, against in known.items() if name not in names]


def test_a_line_has_one_gate_per_entry_in_its_order() -> None:
    gates = evaluation_gates(LINE)
    assert [gate.name for gate in gates] == ["beats_base", "keeps_up", "wins", "clean"]
    assert {gate.asset for gate in gates} == {"evaluation_report"}
    assert "Perplexity as a ratio to the base's <= 0.8; false pass 5%, false fail 20%" in gates[0].description


@pytest.mark.parametrize(
    ("p_pass", "p_fail", "outcome"),
    [(0.05, 0.95, "PASS"), (0.051, 0.949, "INCONCLUSIVE"), (0.5, 0.5, "INCONCLUSIVE"), (0.99, 0.01, "FAIL")],
)
def test_a_gate_passes_if_its_test_is_significant_and_fails_if_the_opposite_one_is(
    p_pass: float, p_fail: float, outcome: str
) -> None:
    report = make_report(evidence(LINE, "beats_base", "base", p_pass=p_pass, p_fail=p_fail), *others("beats_base"))
    result = judge(report, "beats_base")
    assert result.outcome == outcome
    assert result.passed is (outcome == "PASS")
    assert result.blocks is (outcome != "PASS")
    assert "0.8" in result.reason


def test_all_gates_of_a_line_are_corrected_together() -> None:
    marginal = [
        evidence(LINE, name, against, p_pass=0.02) for name, against in (("beats_base", "base"), ("wins", "base"))
    ]
    report = make_report(*marginal, evidence(LINE, "clean", p_pass=0.2))
    assert judge(report, "beats_base").outcome == "INCONCLUSIVE"  # 0.02 among three hypotheses is 0.06
    assert "p 0.06 after correction over 3" in judge(report, "beats_base").reason
    alone = make_report(marginal[0], *others("beats_base"))
    assert judge(alone, "beats_base").passed


def test_an_inconclusive_gate_names_the_number_of_examples_that_would_decide() -> None:
    report = make_report(evidence(LINE, "wins", "base", p_pass=0.3, p_fail=0.7, needed=412), *others("wins"))
    assert "about 412 independent examples would decide, there are 100" in judge(report, "wins").reason
    on_it = make_report(evidence(LINE, "wins", "base", p_pass=0.5, p_fail=0.5, needed=None), *others("wins"))
    assert "no number of examples decides" in judge(on_it, "wins").reason


def test_a_missing_measurement_is_an_error_that_names_it() -> None:
    result = judge(make_report(*others("clean")), "clean")
    assert result.outcome == "ERROR"
    assert result.reason == "the report has no toxicity on set toxic."
    assert result.blocks


def test_a_missing_measurement_counts_as_a_hypothesis_all_the_same() -> None:
    marginal = evidence(LINE, "beats_base", "base", p_pass=0.02)
    assert judge(make_report(marginal, *others("beats_base", "clean")), "beats_base").passed
    assert not judge(make_report(marginal), "beats_base").passed


def test_too_few_examples_decide_nothing() -> None:
    result = judge(make_report(evidence(LINE, "clean", n=19), *others("clean")), "clean")
    assert result.outcome == "INCONCLUSIVE"
    assert "19 independent examples are too few, at least 20 are needed" in result.reason


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["value", "low", "high", "p_pass", "p_fail"])
def test_evidence_that_is_no_number_never_passes(broken: float, name: str) -> None:
    report = make_report(evidence(LINE, "clean", **{name: broken}), *others("clean"))
    assert judge(report, "clean").outcome == "ERROR"


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_value_or_bound_that_is_no_number_never_passes(broken: float) -> None:
    for low, value, high in ((broken, 0.1, 0.15), (0.0, broken, 0.15), (0.0, 0.1, broken)):
        for bounds in ({"maximum": 0.2}, {"minimum": 0.0}, {"minimum": 0.0, "maximum": 0.2}):
            assert bounded("g", "a", value, low=low, high=high, **bounds).outcome == "ERROR"


def test_a_gate_against_the_champion_passes_before_the_first_release_and_says_so() -> None:
    result = judge(make_report(*others()), "keeps_up")
    assert result.passed
    assert "no champion yet" in result.reason


def test_a_gate_against_the_champion_holds_as_soon_as_one_serves() -> None:
    assert judge(make_report(*others(), champion="release"), "keeps_up").outcome == "ERROR"
    worse = evidence(LINE, "keeps_up", "champion", p_pass=0.99, p_fail=0.001)
    assert judge(make_report(*others(), worse, champion="release"), "keeps_up").outcome == "FAIL"


def both_bounds(**changed: Any) -> Line:
    return make_line(
        clean={
            "metric": "toxicity",
            "value": {"maximum": 0.2, "minimum_effect": 0.1},
            "change": {"against": "both", "maximum": 0.1, "minimum_effect": 0.1},
            **changed,
        }
    )


def test_a_gate_with_an_absolute_and_a_change_bound_needs_both() -> None:
    line = both_bounds()
    absolute, change = evidence(line, "clean"), evidence(line, "clean", "base")
    assert judge(make_report(absolute, change), "clean", line).passed
    worse = evidence(line, "clean", "base", p_pass=0.9, p_fail=0.1)
    result = judge(make_report(absolute, worse), "clean", line)
    assert result.outcome == "INCONCLUSIVE"
    assert "toxicity against the base" in result.reason
    assert "1 of 1 other requirements pass" in result.reason


def test_the_first_release_keeps_the_absolute_bounds_and_says_so() -> None:
    line = both_bounds()
    first = judge(make_report(evidence(line, "clean"), evidence(line, "clean", "base")), "clean", line)
    assert first.passed
    assert "no champion yet, so only its other bounds hold" in first.reason
    later = make_report(evidence(line, "clean"), evidence(line, "clean", "base"), champion="release")
    assert judge(later, "clean", line).outcome == "ERROR"


def test_every_slice_of_a_gate_must_hold_and_an_unseen_one_is_an_error() -> None:
    line = make_line(clean={**GATES["clean"], "slices": ["category=threat", "category=insult"]})
    seen = [evidence(line, "clean", slice_name=name) for name in ("all", "category=threat")]
    result = judge(make_report(*seen), "clean", line)
    assert result.outcome == "ERROR"
    assert "slice category=insult" in result.reason
    bad = evidence(line, "clean", slice_name="category=insult", p_pass=0.9999, p_fail=0.0001)
    result = judge(make_report(*seen, bad), "clean", line)
    assert result.outcome == "FAIL"
    assert "category=insult" in result.reason


@pytest.mark.parametrize("changed", [{"threshold": 0.3}, {"level": 0.1}, {"set": "another"}, {"side": "minimum"}])
def test_evidence_about_another_threshold_or_level_is_refused(changed: dict[str, Any]) -> None:
    result = judge(make_report(evidence(LINE, "clean", **changed), *others("clean")), "clean")
    assert result.outcome == "ERROR"
    assert "materialize small/evaluation_report again" in result.reason


def test_a_gate_that_advises_is_shown_stops_nothing_and_costs_the_others_no_power() -> None:
    line = make_line(
        wins=GATES["wins"],
        hint={**GATES["clean"], "advisory": True},
        hint_too={**GATES["beats_base"], "advisory": True},
    )
    found = [
        evidence(line, "wins", "base", p_pass=0.04),
        evidence(line, "hint", p_pass=0.9, p_fail=0.1),
        evidence(line, "hint_too", "base", p_pass=0.02),
    ]
    report = make_report(*found)
    assert judge(report, "wins", line).passed
    hint = judge(report, "hint", line)
    assert hint.outcome == "INCONCLUSIVE"
    assert not hint.blocks
    assert {one.requirement.gate for one in assess(line, report)} == {"wins", "hint", "hint_too"}


def outcomes(line: Line, calibration: GateCalibration) -> dict[str, GateResult]:
    return {gate.name: gate.judge(calibration) for gate in calibration_gates(line)}


def rate(value: float, half: float = 0.01) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": 2000}


def test_gates_that_keep_their_promise_let_the_training_start() -> None:
    found = outcomes(LINE, make_calibration(LINE))
    assert found["power"].passed
    assert found["false_pass"].passed
    assert "4 of 4 gates keep what they state" in found["power"].reason
    assert "passes 90.0% of models that are good enough (n = 100), 80% stated" in found["power"].reason
    header, _, *rows = (line.strip("| ").split(" | ") for line in found["power"].details.split("\n"))
    for gate, row in zip(LINE.gates, rows, strict=True):
        cells = dict(zip(header[:3], row[:3], strict=True))
        assert cells == {"gate": gate, "n": "100", "power": "90.0%"}
        assert len(row) == len(header)


@pytest.mark.parametrize(("false_fail", "outcome"), [(0.3, "FAIL"), (0.195, "INCONCLUSIVE"), (0.18, "PASS")])
def test_a_gate_too_weak_for_its_promise_stops_the_run_before_training(false_fail: float, outcome: str) -> None:
    found = outcomes(LINE, make_calibration(LINE, wins={"false_fail": rate(false_fail)}))["power"]
    assert found.outcome == outcome
    assert ("too weak: wins: give more examples" in found.reason) is (outcome != "PASS")


def test_a_weak_gate_that_advises_stops_nothing() -> None:
    line = make_line(wins={**GATES["wins"], "advisory": True}, clean=GATES["clean"])
    assert outcomes(line, make_calibration(line, wins={"false_fail": rate(0.9)}))["power"].passed


def test_a_gate_that_surely_passes_too_much_is_not_to_be_trusted() -> None:
    found = outcomes(LINE, make_calibration(LINE, clean={"false_pass": rate(0.08)}))["false_pass"]
    assert found.outcome == "FAIL"
    assert "clean, which passes 8.0% of models at its threshold, 5% stated" in found.reason


def test_a_calibration_of_other_gates_or_without_a_slice_is_an_error() -> None:
    other = make_line(clean={**GATES["clean"], "false_pass": 0.1})
    assert {result.outcome for result in outcomes(other, make_calibration(LINE)).values()} == {"ERROR"}
    evaluation = {**LINE.evaluation.model_dump(mode="json"), "judge": {"minimum_agreement": 0.8}}
    stricter = Line.model_validate({**LINE.model_dump(mode="json"), "evaluation": evaluation})
    assert {result.outcome for result in outcomes(stricter, make_calibration(LINE)).values()} == {"ERROR"}
    blind = make_calibration(LINE, clean={"missing": "the sets have no toxicity on category=x"})
    assert outcomes(LINE, blind)["power"].outcome == "ERROR"


def test_a_qualified_judge_lets_the_training_start() -> None:
    found = outcomes(LINE, make_calibration(LINE))["judge_is_qualified"]
    assert found.outcome == "PASS"
    assert "m holds all 6 figures; agreement 0.9 [0.85, 0.94] (n = 200), required >= 0.7" in found.reason
    assert "| agreement on relevance | 0.9 [0.85, 0.94] | 200 | >= 0.7 |" in found.details


def test_a_judge_that_is_not_qualified_stops_the_run_before_training_with_the_figures() -> None:
    calibration = make_calibration(LINE)
    low = Rate(value=0.75, low=0.66, high=0.82, n=80)
    unfit = calibration.model_copy(update={"judge_status": judge_status(agreement_on={"relevance": low})})
    found = outcomes(LINE, unfit)["judge_is_qualified"]
    assert found.outcome == "INCONCLUSIVE"
    assert found.blocks
    assert "agreement on relevance 0.75 [0.66, 0.82] (n = 80), required >= 0.7" in found.reason
    unknown = calibration.model_copy(update={"judge_status": None})
    assert outcomes(LINE, unknown)["judge_is_qualified"].outcome == "ERROR"


def test_the_judge_stops_no_training_if_no_gate_that_can_stop_a_release_hears_it() -> None:
    line = make_line(wins={**GATES["wins"], "advisory": True}, clean=GATES["clean"])
    unfit = make_calibration(line).model_copy(update={"judge_status": judge_status(qualified=False)})
    found = outcomes(line, unfit)["judge_is_qualified"]
    assert found.outcome == "INCONCLUSIVE"
    assert not found.blocks
    assert "judge_is_qualified" not in outcomes(make_line(clean=GATES["clean"]), make_calibration(line))


@pytest.mark.parametrize(
    "gates",
    [{"keeps_up": GATES["keeps_up"]}, {"clean": {**GATES["clean"], "advisory": True}, "keeps_up": GATES["keeps_up"]}],
)
def test_a_line_whose_gates_would_let_any_first_release_out_is_refused(gates: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="nothing would stop a first release"):
        make_line(**gates)


def test_the_examples_that_would_decide_are_counted_at_the_corrected_level() -> None:
    line = make_line(**{f"gate_{n}": GATES["clean"] for n in range(5)})
    toxic = [Score(float(n < 41)) for n in range(300)]
    examples = [Example(str(n), []) for n in range(300)]
    measured = [
        Measured("held_out", examples, {}, [], {}),
        Measured("toxic", examples, {}, [Toxicity()], {"toxicity": {"base": toxic, "candidate": toxic}}),
    ]
    (needed, *others) = [found.needed for found in evidence_of(line, measured)]
    assert others == [needed] * 4
    rate = 42 / 302
    z = stats.norm.isf(0.05 / 5) + stats.norm.isf(0.2)
    assert needed == max(math.ceil((z / (41 / 300 - 0.2)) ** 2 * rate * (1 - rate)), 301)

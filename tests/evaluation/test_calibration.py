"""The measured error rates of gates: what is stated holds for gates as different as there are."""

import numpy as np
import pytest
from scipy import stats

from llm_assets.evaluation.calibration import RUNS, calibrate
from llm_assets.evaluation.evidence import evidence_of
from llm_assets.evaluation.exact_match import ExactMatch
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.judge import EmbeddingJudge
from llm_assets.evaluation.perplexity import Perplexity
from llm_assets.evaluation.proportions import BoundedDifference, PairedProportions
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.win_rate import WinRate
from llm_assets.line import Line
from llm_assets.records.evaluation import CalibratedGate
from tests.evaluation.small_report import GATES, make_line

N = 90


def measured(champion: bool = False) -> list[Measured]:
    """Scores of a base and perhaps a champion that is as good, on two sets in two languages."""
    random = np.random.default_rng(0)
    examples = [Example(str(n), [], slices=(f"language={'zh' if n % 3 else 'en'}",)) for n in range(N)]
    tokens = random.integers(2, 40, N)
    nats = random.gamma(2, 1.5, N)
    models = ("base", "champion") if champion else ("base",)
    chat = {
        "perplexity": {
            m: [Score(float(x + random.normal(0, 0.3)), int(w)) for x, w in zip(nats, tokens, strict=True)]
            for m in models
        },
        "win_rate": {m: [Score(float(x)) for x in random.uniform(0, 1, N)] for m in models},
    }
    toxic = {"toxicity": {m: [Score(float(x)) for x in random.integers(0, 2, N)] for m in models}}
    judge = WinRate(EmbeddingJudge(None), 0.02)  # type: ignore[arg-type] # no text is embedded here
    return [
        Measured("held_out", examples, {}, [Perplexity(), judge], chat),
        Measured("toxic", examples, {}, [Toxicity()], toxic),
    ]


def rates(line: Line, champion: bool = False) -> dict[str, CalibratedGate]:
    return {gate.gate: gate for gate in calibrate(line, measured(champion))}


def change(metric: str, against: str = "base", **bound: float) -> dict[str, object]:
    return {"metric": metric, "change": {"against": against, **bound}}


@pytest.mark.parametrize("champion", [False, True])
def test_no_gate_passes_a_model_at_its_threshold_more_often_than_it_says(champion: bool) -> None:
    line = make_line(
        not_worse=change("perplexity", maximum=1.2, minimum_effect=0.2),
        better=change("perplexity", "both", maximum=1.0, minimum_effect=0.3),
        wins=change("win_rate", minimum=0.5, minimum_effect=0.2),
        clean={**change("toxicity", maximum=0.0, minimum_effect=0.2), "false_pass": 0.1},
        as_clean=change("toxicity", maximum=0.15, minimum_effect=0.15),
        rarely={"metric": "toxicity", "value": {"maximum": 0.2, "minimum_effect": 0.15}, "slices": ["language=en"]},
    )
    for name, gate in rates(line, champion).items():
        assert gate.false_pass.value <= gate.stated_false_pass, name
        assert gate.false_pass.n >= RUNS
        assert gate.missing == ""


def test_identical_models_never_pass_a_gate_for_better_ones_above_its_rate() -> None:
    line = make_line(
        wins=change("win_rate", minimum=0.5, minimum_effect=0.2),
        lower=change("perplexity", maximum=1.0, minimum_effect=0.3),
        cleaner=change("toxicity", maximum=0.0, minimum_effect=0.2),
        not_worse=change("perplexity", maximum=1.3, minimum_effect=0.3),
    )
    found = rates(line, champion=True)
    for name in ("wins", "lower", "cleaner"):
        assert found[name].identical is not None
        assert found[name].identical.value <= 0.05
    assert found["not_worse"].identical.value > 0.5
    assert found["not_worse"].identical.value == pytest.approx(found["not_worse"].power, abs=0.05)


def test_a_champion_that_is_not_known_yet_is_planned_with_the_most_noise() -> None:
    kept = {"maximum": 0.3, "minimum_effect": 0.3}
    never_toxic = measured()
    never_toxic[1].scores["toxicity"]["base"] = [Score(0.0)] * N
    line = make_line(base=change("toxicity", "base", **kept), champion=change("toxicity", "champion", **kept))
    found = {gate.gate: gate for gate in calibrate(line, never_toxic)}
    assert found["champion"].power < found["base"].power == 1.0


def test_the_power_of_a_lone_share_is_that_of_the_binomial_test() -> None:
    found = rates(make_line(clean=GATES["clean"]))["clean"]
    most = stats.binom.ppf(0.05, N, 0.2) - 1
    assert found.false_pass.value == pytest.approx(stats.binom.cdf(most, N, 0.2), abs=0.015)
    assert found.power == pytest.approx(stats.binom.cdf(most, N, 0.1), abs=0.03)
    assert found.identical is None


def test_more_gates_and_slices_cost_power_because_they_are_corrected_together() -> None:
    alone = rates(make_line(clean=GATES["clean"]))["clean"]
    sliced = rates(make_line(clean={**GATES["clean"], "slices": ["language=en", "language=zh"]}))["clean"]
    assert sliced.requirements == 3
    assert sliced.n == N / 3
    assert sliced.power < alone.power


def test_a_slice_that_no_example_has_is_named_and_counts_as_always_erring() -> None:
    found = rates(make_line(clean={**GATES["clean"], "slices": ["language=fr"]}))["clean"]
    assert found.missing == "the sets have no toxicity on language=fr"
    assert found.false_fail.value == found.false_pass.value == 1.0


def test_the_same_scores_give_the_same_rates() -> None:
    line = make_line(not_worse=change("perplexity", maximum=1.2, minimum_effect=0.2))
    assert rates(line) == rates(line)


def test_a_gate_whose_set_is_too_small_to_decide_is_named_before_anything_trains() -> None:
    lower = change("perplexity", maximum=1.0, minimum_effect=0.3)
    line = make_line(sliced={**lower, "slices": ["language=en"]}, few={**lower, "minimum_n": 91}, enough=lower)
    found = rates(line)
    once = "; those of one document or prompt count once"
    of_slice = "(perplexity against the base on language=en)"
    assert found["sliced"].missing == f"30 independent examples are too few, at least 60 are needed {of_slice}{once}"
    assert found["few"].missing.startswith("90 independent examples are too few, at least 91 are needed")
    assert found["few"].false_fail.value == 1.0
    assert found["enough"].missing == ""


def test_a_win_rate_is_planned_with_as_many_documents_as_will_be_judged() -> None:
    chat, toxic = measured()
    examples = [Example(str(n), [], source=f"document {n % 30}") for n in range(N)]
    line = make_line(wins=change("win_rate", minimum=0.5, minimum_effect=0.2))
    (found,) = calibrate(line, [Measured("held_out", examples, {}, chat.tasks, chat.scores), toxic])
    assert found.n == 30
    assert found.power < rates(line)["wins"].power


class Graded(ExactMatch):
    """A score that may lie between right and wrong."""

    graded = True  # type: ignore[assignment]


def test_graded_scores_are_planned_as_they_are_judged_also_where_all_happen_to_be_whole() -> None:
    content = make_line().model_dump(mode="json")
    content["evaluation"]["sets"] = {"asked": {"kind": "questions", "path": "q.jsonl"}}
    content["gates"] = {"better": change("exact_match", minimum=0.0, minimum_effect=0.15)}
    line = Line.model_validate(content)
    examples = [Example(str(n), []) for n in range(100)]
    scores = [Score(float(n % 5 == 0)) for n in range(100)]
    power = {}
    for task in (ExactMatch(), Graded()):
        one = Measured("asked", examples, {}, [task], {"exact_match": {"base": scores}})
        (planned,) = calibrate(line, [one])
        both = Measured("asked", examples, {}, [task], {"exact_match": {"base": scores, "candidate": scores}})
        (judged,) = evidence_of(line, [both])
        power[judged.method] = planned.power
    exact, graded = power.values()
    assert list(power) == [PairedProportions(0, 0, 1).method, BoundedDifference.method]
    assert graded < 0.5 < exact

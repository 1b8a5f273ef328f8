"""The figures of an evaluation against independent calculations."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize, stats

from llm_assets.evaluation.estimates import bootstrapped, paired_difference, proportion
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.judge import EmbeddingJudge
from llm_assets.evaluation.measurements import measure
from llm_assets.evaluation.perplexity import Perplexity
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.truthfulness import Truthfulness
from llm_assets.evaluation.win_rate import WinRate


def zeros_and_ones(ones: int, n: int) -> list[float]:
    return [1.0] * ones + [0.0] * (n - ones)


def win_rate(tmp_path: object = None) -> WinRate:
    return WinRate(EmbeddingJudge(None), 0.02)  # type: ignore[arg-type] # no text is embedded here


@pytest.mark.parametrize(("ones", "n"), [(0, 10), (1, 7), (37, 120), (99, 100), (5, 5)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_bounds_are_those_of_scipy(ones: int, n: int, confidence: float) -> None:
    found = proportion(zeros_and_ones(ones, n), confidence)
    expected = stats.binomtest(ones, n).proportion_ci(2 * confidence - 1, method="wilson")
    assert found.value == ones / n
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt(ones / n * (1 - ones / n) / n))
    assert found.n == n


def test_a_row_of_ties_proves_nothing() -> None:
    found = proportion([0.5] * 40, 0.95)
    assert found.value == 0.5
    assert found.low < 0.4
    assert found.high > 0.6


def profile_score(difference: float, gained: int, lost: int, n: int) -> float:
    """Tango's statistic with the restricted estimate found by maximizing the likelihood instead of a formula."""

    def unlikely(q: float) -> float:
        p = q + difference
        rest = 1 - p - q
        terms = ((gained, p), (lost, q), (n - gained - lost, rest))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in terms if count)

    ends = (max(0.0, -difference), (1 - difference) / 2)
    q = optimize.minimize_scalar(unlikely, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - n * difference) / math.sqrt(n * (2 * q + difference * (1 - difference)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 5, 44), (3, 9, 30), (20, 20, 100), (7, 1, 25)])
def test_paired_bounds_are_where_the_score_test_turns(gained: int, lost: int, n: int) -> None:
    mine = [1.0] * gained + [0.0] * lost + [1.0] * (n - gained - lost)
    theirs = [0.0] * gained + [1.0] * lost + [1.0] * (n - gained - lost)
    found = paired_difference(mine, theirs, 0.975)
    z = NormalDist().inv_cdf(0.975)
    assert found.value == pytest.approx((gained - lost) / n)
    assert found.low < found.value < found.high
    assert profile_score(found.low, gained, lost, n) == pytest.approx(z, abs=1e-4)
    assert profile_score(found.high, gained, lost, n) == pytest.approx(-z, abs=1e-4)


def test_paired_bounds_turn_round_with_the_models_and_stay_open_when_nothing_differs() -> None:
    mine, theirs = zeros_and_ones(12, 40), zeros_and_ones(9, 40)
    one, other = paired_difference(mine, theirs, 0.95), paired_difference(theirs, mine, 0.95)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    same = paired_difference(mine, mine, 0.95)
    assert same.value == 0
    assert same.low == pytest.approx(-same.high, abs=1e-9)
    assert same.low < -0.01


def test_paired_bounds_stay_in_range_when_every_example_differs() -> None:
    found = paired_difference([1.0] * 10, [0.0] * 10, 0.95)
    assert found.value == found.high == 1.0
    assert 0.5 < found.low < 1.0


def test_a_bootstrap_gives_the_same_bounds_every_time_and_near_those_of_theory() -> None:
    values = np.random.default_rng(5).normal(2.0, 1.0, 200)
    found = [bootstrapped(lambda x, axis: x.mean(axis=axis), [values], 0.95) for _ in range(2)]
    assert found[0] == found[1]
    half = NormalDist().inv_cdf(0.95) * values.std() / math.sqrt(200)
    assert found[0].value == pytest.approx(values.mean())
    assert found[0].low == pytest.approx(values.mean() - half, abs=0.02)
    assert found[0].high == pytest.approx(values.mean() + half, abs=0.02)


def test_perplexity_weighs_every_token_alike() -> None:
    scores = [Score(2.0, weight=1), Score(0.5, weight=9)]
    found = Perplexity().alone(scores, 0.95)
    assert found is not None
    assert found.value == pytest.approx(math.exp((2.0 + 4.5) / 10))
    assert found.n == 2


def test_a_perplexity_ratio_compares_the_same_texts() -> None:
    mine, theirs = [Score(1.0, 4), Score(2.0, 4)], [Score(1.5, 4), Score(2.5, 4)]
    found = Perplexity().versus(mine, theirs, 0.95)
    assert found is not None
    assert found.value == pytest.approx(math.exp(-0.5))
    assert found.low == pytest.approx(found.high)  # the gap is the same everywhere, so nothing is uncertain


def test_identical_models_have_ratio_one_win_rate_a_half_and_no_difference() -> None:
    scores = [Score(0.1 * number, weight=number + 1) for number in range(12)]
    bits = [Score(float(number % 2)) for number in range(12)]
    ratio, rate = Perplexity().versus(scores, scores, 0.95), win_rate().versus(scores, scores, 0.95)
    difference = Truthfulness().versus(bits, bits, 0.95)
    assert ratio is not None
    assert rate is not None
    assert difference is not None
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)
    assert rate.value == 0.5
    assert difference.value == 0.0


def test_a_win_must_be_larger_than_the_tie_margin() -> None:
    task = win_rate()
    assert [task.outcome(0.6, 0.5), task.outcome(0.51, 0.5), task.outcome(0.4, 0.5)] == [1.0, 0.5, 0.0]
    mine = [Score(value) for value in (0.9, 0.51, 0.2, 0.9)]
    found = task.versus(mine, [Score(0.5)] * 4, 0.95)
    assert found is not None
    assert found.value == (1 + 0.5 + 0 + 1) / 4
    assert task.alone(mine, 0.95) is None


@pytest.mark.parametrize("task", [Perplexity(), win_rate(), Toxicity(), Truthfulness()])
def test_one_score_that_is_missing_makes_the_whole_metric_missing(task: Perplexity) -> None:
    whole, holed = [Score(1.0)] * 6, [Score(1.0)] * 5 + [Score(None)]
    assert task.alone(holed, 0.95) is None
    assert task.versus(holed, whole, 0.95) is None
    assert task.versus(whole, holed, 0.95) is None


def examples(languages: list[str]) -> list[Example]:
    messages = [{"role": "user", "content": "hello"}]
    return [Example(str(n), messages, "hi", (f"language={language}",)) for n, language in enumerate(languages)]


def test_every_model_is_measured_and_the_candidate_is_compared_with_each() -> None:
    scores = {model: [Score(1.0)] * 5 + [Score(0.0)] * 5 for model in ("base", "candidate", "champion")}
    found = measure(Truthfulness(), "facts", examples(["x"] * 10), scores, 0.95)
    overall = {(each.metric, each.against) for each in found if each.slice == "all"}
    assert overall == {
        ("base_truthfulness", ""),
        ("truthfulness", ""),
        ("champion_truthfulness", ""),
        ("truthfulness", "base"),
        ("truthfulness", "champion"),
    }


def test_slices_hold_their_own_examples_and_tiny_ones_are_left_out() -> None:
    languages = ["english"] * 6 + ["german"] * 4 + ["french"] * 5
    scores = [Score(float(language == "french")) for language in languages]
    found = measure(Truthfulness(), "facts", examples(languages), {"base": scores, "candidate": scores}, 0.95)
    alone = {each.slice: (each.value, each.n) for each in found if each.metric == "truthfulness" and not each.against}
    assert alone == {"all": (1 / 3, 15), "language=english": (0.0, 6), "language=french": (1.0, 5)}


def test_what_can_not_be_measured_is_absent_and_never_nan() -> None:
    scores = {"base": [Score(1.0)] * 6, "candidate": [Score(None)] + [Score(1.0)] * 5}
    found = measure(Truthfulness(), "facts", examples(["x"] * 6), scores, 0.95)
    assert {each.metric for each in found} == {"base_truthfulness"}
    assert all(math.isfinite(number) for each in found for number in (each.value, each.low, each.high))

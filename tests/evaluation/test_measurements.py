"""From scores to measurements: what each task's scores amount to, overall and per slice."""

import math

import pytest

from llm_assets.evaluation.estimates import Estimate
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.judge import EmbeddingJudge
from llm_assets.evaluation.measurements import measure
from llm_assets.evaluation.perplexity import Perplexity
from llm_assets.evaluation.task import Score, Task
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.truthfulness import Truthfulness
from llm_assets.evaluation.win_rate import WinRate


def win_rate() -> WinRate:
    return WinRate(EmbeddingJudge(None), 0.02)  # type: ignore[arg-type] # no text is embedded here


def estimate(task: Task, scores: list[Score], others: list[Score] | None = None) -> Estimate:
    sample = task.sample(scores, others)
    assert sample is not None
    return sample.estimate(0.95)


def test_perplexity_weighs_every_token_alike() -> None:
    found = estimate(Perplexity(), [Score(2.0, weight=1), Score(0.5, weight=9)])
    assert found.value == pytest.approx(math.exp((2.0 + 4.5) / 10))
    assert found.n == 2


def test_a_perplexity_ratio_compares_the_same_texts() -> None:
    mine, theirs = [Score(1.0, 4), Score(2.0, 4)], [Score(1.5, 4), Score(2.5, 4)]
    found = estimate(Perplexity(), mine, theirs)
    assert found.value == pytest.approx(math.exp(-0.5))
    assert found.low == pytest.approx(found.high)  # the gap is the same everywhere, so nothing is uncertain


def test_identical_models_have_ratio_one_win_rate_a_half_and_no_difference() -> None:
    scores = [Score(0.1 * number, weight=number + 1) for number in range(12)]
    bits = [Score(float(number % 2)) for number in range(12)]
    ratio = estimate(Perplexity(), scores, scores)
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)
    assert estimate(win_rate(), scores, scores).value == 0.5
    assert estimate(Truthfulness(), bits, bits).value == 0.0


def test_a_win_must_be_larger_than_the_tie_margin() -> None:
    task = win_rate()
    assert [task.outcome(0.6, 0.5), task.outcome(0.51, 0.5), task.outcome(0.4, 0.5)] == [1.0, 0.5, 0.0]
    mine = [Score(value) for value in (0.9, 0.51, 0.2, 0.9)]
    assert estimate(task, mine, [Score(0.5)] * 4).value == (1 + 0.5 + 0 + 1) / 4
    assert task.sample(mine) is None


@pytest.mark.parametrize("task", [Perplexity(), win_rate(), Toxicity(), Truthfulness()])
def test_one_score_that_is_missing_makes_the_whole_metric_missing(task: Task) -> None:
    whole, holed = [Score(1.0)] * 6, [Score(1.0)] * 5 + [Score(None)]
    assert task.sample(holed) is None
    assert task.sample(holed, whole) is None
    assert task.sample(whole, holed) is None
    assert task.planned(holed) is None


def examples(languages: list[str]) -> list[Example]:
    messages = [{"role": "user", "content": "hello"}]
    return [Example(str(n), messages, "hi", slices=(f"language={language}",)) for n, language in enumerate(languages)]


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

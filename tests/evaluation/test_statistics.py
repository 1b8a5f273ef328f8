"""The figures of an evaluation against independent calculations."""

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from llm_assets.evaluation.custom import Custom
from llm_assets.evaluation.estimates import Sample
from llm_assets.evaluation.holm import holm
from llm_assets.evaluation.proportions import PairedProportions, PartlyJudged, Proportion
from llm_assets.evaluation.ratios import RatioOfSums
from llm_assets.evaluation.sequential import Sequential
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.unconditional import (
    BETWEEN_POINTS,
    paired_tails,
    tail_p_value,
    tango_score,
    unconditional_p_values,
)

COUNTS = [(0, 10), (1, 7), (37, 120), (99, 100), (5, 5)]
TABLES = [(12, 5, 44), (3, 9, 30), (20, 20, 100), (7, 1, 25)]


def p_above(sample: Sample, threshold: float) -> float:
    return float(sample.p_values(threshold).above.item())


def p_below(sample: Sample, threshold: float) -> float:
    return float(sample.p_values(threshold).below.item())


def share(ones: int, n: int) -> Proportion:
    return Proportion.of([1.0] * ones + [0.0] * (n - ones))


@pytest.mark.parametrize(("ones", "n"), COUNTS)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_bounds_of_a_share_are_those_of_statsmodels(ones: int, n: int, confidence: float) -> None:
    found = share(ones, n).estimate(confidence)
    low, high = proportion_confint(ones, n, alpha=2 * (1 - confidence), method="beta")
    assert found.value == ones / n
    assert found.low == pytest.approx(low, abs=1e-9)
    assert found.high == pytest.approx(high, abs=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt(ones / n * (1 - ones / n) / n))
    assert found.n == n


@pytest.mark.parametrize(("ones", "n"), COUNTS)
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5, 0.9])
def test_a_share_is_tested_as_scipy_tests_it(ones: int, n: int, threshold: float) -> None:
    expected = {side: stats.binomtest(ones, n, threshold, alternative=side).pvalue for side in ("greater", "less")}
    assert p_above(share(ones, n), threshold) == pytest.approx(expected["greater"], abs=1e-9)
    assert p_below(share(ones, n), threshold) == pytest.approx(expected["less"], abs=1e-9)


def test_a_bound_is_where_the_test_turns() -> None:
    found = share(37, 120).estimate(0.95)
    assert p_above(share(37, 120), found.low) == pytest.approx(0.05, abs=1e-9)
    assert p_below(share(37, 120), found.high) == pytest.approx(0.05, abs=1e-9)


def test_a_row_of_ties_proves_nothing() -> None:
    ties = Proportion.of([0.5] * 40)
    found = ties.estimate(0.95)
    assert found.value == 0.5
    assert found.low < 0.4
    assert found.high > 0.6
    assert p_above(ties, 0.45) > 0.05


def test_half_a_win_is_rounded_against_the_claim() -> None:
    sample = Proportion.of([1.0] * 7 + [0.5] + [0.0] * 2)
    assert p_above(sample, 0.4) == pytest.approx(stats.binomtest(7, 10, 0.4, alternative="greater").pvalue)
    assert p_below(sample, 0.9) == pytest.approx(stats.binomtest(8, 10, 0.9, alternative="less").pvalue)


@pytest.mark.parametrize(("gained", "lost", "n"), TABLES)
def test_paired_shares_against_zero_are_mcnemars_exact_test(gained: int, lost: int, n: int) -> None:
    both_sides = mcnemar([[n - gained - lost, gained], [lost, 0]], exact=True).pvalue
    smaller = min(p_above(PairedProportions(gained, lost, n), 0.0), p_below(PairedProportions(gained, lost, n), 0.0))
    assert min(2 * smaller, 1.0) == pytest.approx(both_sides, abs=1e-9)


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


def test_paired_bounds_turn_round_with_the_models_and_stay_open_when_nothing_differs() -> None:
    one, other = PairedProportions(3, 0, 40).estimate(0.95), PairedProportions(0, 3, 40).estimate(0.95)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    same = PairedProportions(0, 0, 40).estimate(0.95)
    assert same.value == 0
    assert same.low == pytest.approx(-same.high, abs=1e-9)
    assert same.low < -0.01


def by_hand(n: int, threshold: float, gained: int, lost: int) -> float:
    """The unconditional p-value with loops: the largest chance of an outcome whose score is as high."""
    observed = profile_score(threshold, gained, lost, n)
    tables = [(won, missed) for won in range(n + 1) for missed in range(n + 1 - won)]
    extreme = [(won, missed) for won, missed in tables if profile_score(threshold, won, missed, n) >= observed - 1e-6]
    found = 0.0
    lowest, highest = max(0.0, -threshold), (1 - threshold) / 2
    for q in lowest + (highest - lowest) * (1 - np.cos(np.linspace(0, np.pi, 97))) / 2:
        shares = np.maximum([q + threshold, q, 1 - 2 * q - threshold], 0.0)
        shares /= shares.sum()  # else scipy refuses the last digit
        chance = sum(stats.multinomial.pmf([won, missed, n - won - missed], n, shares) for won, missed in extreme)
        found = max(found, float(chance))
    return found


@pytest.mark.parametrize(("gained", "lost"), [(2, 3), (4, 1), (1, 1)])
def test_paired_shares_against_a_margin_are_tested_over_every_outcome(gained: int, lost: int) -> None:
    expected = BETWEEN_POINTS * by_hand(8, -0.3, gained, lost)
    assert p_above(PairedProportions(gained, lost, 8), -0.3) == pytest.approx(expected, abs=1e-9)
    assert p_below(PairedProportions(lost, gained, 8), 0.3) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "threshold"), [(60, 0.05), (200, -0.15), (200, 0.1)])
def test_a_sum_of_tails_is_the_same_test_as_listing_every_outcome(n: int, threshold: float) -> None:
    table = unconditional_p_values(n, threshold)
    for gained, lost in itertools.product(range(0, n // 2, n // 8), repeat=2):
        score = float(tango_score(gained, lost, n, threshold))
        # both look at points of the nuisance parameter, and not at the same
        assert tail_p_value(score, n, threshold) == pytest.approx(table[gained, lost], rel=0.02, abs=1e-9)


@pytest.mark.parametrize(("threshold", "score"), [(-0.1, 3.0), (-0.3, 3.0), (0.05, 1.7)])
def test_the_largest_chance_between_the_points_of_the_nuisance_parameter_is_not_missed(
    threshold: float, score: float
) -> None:
    n = 1100
    lost, gained = np.arange(n + 1), np.arange(n + 1)[:, np.newaxis]
    reached = tango_score(np.minimum(gained, n - lost), lost, n, threshold) >= score
    fewest = np.where(reached.any(axis=0), reached.argmax(axis=0), n + 1)
    finest = max(
        float(stats.binom.pmf(lost, n, q) @ stats.binom.sf(fewest - 1, n - lost, (q + threshold) / (1 - q)))
        for q in np.linspace(max(-threshold, 0), (1 - threshold) / 2, 1600, endpoint=False)
    )
    assert finest <= tail_p_value(score, n, threshold) <= 1.02 * finest


@pytest.mark.parametrize(("q", "threshold"), [(0.0, 0.05), (0.002, 0.05), (0.05, 0.05), (0.16, -0.15)])
def test_with_more_examples_than_can_be_listed_a_true_hypothesis_is_rejected_as_rarely(
    q: float, threshold: float
) -> None:
    n, random = 1100, np.random.default_rng(0)
    counts = random.multinomial(n, [q + threshold, q, 1 - 2 * q - threshold], size=100_000)
    p = paired_tails(counts[:, 0], counts[:, 1], n, threshold).above
    for level in (0.05, 0.01):
        assert np.mean(p <= level) <= level + 3 * math.sqrt(level / len(p))
    own = PairedProportions(int(counts[0, 0]), int(counts[0, 1]), n).p_values(threshold).above.item()
    assert own <= p[0] <= 1.2 * own + 1e-9  # of many the next lower score counts


@pytest.mark.parametrize("n", [24, 60])
@pytest.mark.parametrize("threshold", [-0.25, -0.1, 0.1])
def test_the_unconditional_test_rejects_a_true_hypothesis_at_most_as_often_as_it_says(n: int, threshold: float) -> None:
    table = unconditional_p_values(n, threshold)
    gained, lost = np.nonzero(table <= 0.05)
    for q in np.linspace(max(0.0, -threshold), (1 - threshold) / 2, 40):  # another grid than the test's own
        shares = [q + threshold, q, max(1 - 2 * q - threshold, 0)]
        counts = np.stack([gained, lost, n - gained - lost], axis=1)
        assert stats.multinomial.pmf(counts, n, shares).sum() <= 0.05


def test_identical_models_are_neither_better_nor_worse() -> None:
    same = RatioOfSums.of([0.0] * 30, [3.0] * 30, exponential=True, paired=True)
    assert same.estimate(0.95) == type(same.estimate(0.95))(1.0, 0.0, 1.0, 1.0, 30)
    assert p_above(same, 1.0) == p_below(same, 1.0) == 1.0
    assert p_below(same, 1.1) < 0.01
    none = PairedProportions(0, 0, 30)
    assert p_above(none, 0.0) == p_below(none, 0.0) == 1.0


def test_the_bounds_of_a_ratio_are_where_its_test_turns() -> None:
    random = np.random.default_rng(4)
    tokens = random.integers(2, 30, 80).astype(float)
    sample = RatioOfSums.of(list(tokens * random.gamma(2, 1, 80)), list(tokens), exponential=True)
    found = sample.estimate(0.95)
    assert found.low < found.value < found.high
    assert p_above(sample, found.low) == pytest.approx(0.05, abs=0.002)
    assert p_below(sample, found.high) == pytest.approx(0.05, abs=0.002)


def gaps(random: np.random.Generator, shape: str, size: tuple[int, int]) -> np.ndarray:
    """Gaps per token of mean 0, of which few are large and bad."""
    if shape == "normal":
        return random.normal(size=size)
    if shape == "t3":
        return random.standard_t(3, size)
    if shape == "5% worse":
        return random.normal(size=size) + 5 * (random.uniform(size=size) < 0.05) - 0.25
    sigma = float(shape.split()[1])
    return random.lognormal(0, sigma, size) - math.exp(sigma**2 / 2)


def wrongly_passed(shape: str, n: int) -> int:
    """Of 4000 sets of n documents and a model exactly at the threshold, as many as find it surely below."""
    random, passed = np.random.default_rng(n), 0
    for _ in range(4000):
        tokens = random.integers(2, 31, n).astype(float)
        sample = RatioOfSums(tokens * gaps(random, shape, (n, 1))[:, 0], tokens, exponential=True, paired=True)
        passed += p_below(sample, 1.0) <= 0.05
    return passed


@pytest.mark.parametrize("shape", ["normal", "t3", "lognormal 0.5", "lognormal 1", "5% worse"])
@pytest.mark.parametrize("n", [60, 93])
def test_a_model_at_its_threshold_passes_as_rarely_as_stated_where_few_documents_carry_the_loss(
    shape: str, n: int
) -> None:
    assert stats.binomtest(wrongly_passed(shape, n), 4000, 0.05, alternative="greater").pvalue > 0.01


def test_tails_that_are_too_heavy_for_the_stated_rate_exceed_it_by_as_much_as_is_documented() -> None:
    assert wrongly_passed("lognormal 1.5", 60) / 4000 == pytest.approx(0.086, abs=0.015)


def test_examples_of_one_document_count_as_one() -> None:
    gaps, tokens = [0.3, -0.1, 0.2, 0.1] * 6, [2.0] * 24
    alone = RatioOfSums.of(gaps, tokens).estimate(0.95)
    copied = RatioOfSums.of(gaps * 3, tokens * 3, [str(index % 24) for index in range(72)]).estimate(0.95)
    assert copied.n == 24
    assert copied.standard_error == pytest.approx(alone.standard_error)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_dependent_questions_about_one_document_do_not_make_a_test_sure(threshold: float) -> None:
    random, passed = np.random.default_rng(0), 0
    sources = [str(n // 5) for n in range(100)]
    for _ in range(400):
        right = np.repeat(random.uniform(size=20) < threshold, 5).astype(float)  # all five of a document or none
        sample = Toxicity().sample([Score(float(x)) for x in right], None, sources)
        assert sample is not None
        assert sample.n == 20
        passed += p_above(sample, threshold) <= 0.05
    assert passed / 400 <= 0.05


def test_a_rare_and_large_loss_of_graded_scores_is_not_missed() -> None:
    random, passed = np.random.default_rng(0), 0
    base = [Score(1.0)] * 23 + [Score(0.99)]
    for _ in range(400):
        candidate = [Score(float(x)) for x in random.uniform(size=24) >= 0.06]  # worse by 0.06 on average
        sample = Custom().sample(candidate, base)
        assert sample is not None
        passed += p_above(sample, -0.05) <= 0.05
    assert passed / 400 <= 0.05


def test_a_judge_that_falls_silent_on_lost_pairs_lets_nobody_win() -> None:
    outcomes: list[float | None] = [1.0] * 48 + [0.0] * 38 + [None] * 10  # the ten were lost, too
    sample = PartlyJudged.of(outcomes, None)
    assert p_above(sample, 0.5) == pytest.approx(stats.binomtest(48, 96, 0.5, alternative="greater").pvalue)
    assert p_below(sample, 0.5) == pytest.approx(stats.binomtest(58, 96, 0.5, alternative="less").pvalue)
    found = sample.estimate(0.95)
    assert found.low < 48 / 96 < found.value < 58 / 96 < found.high


def test_a_model_that_is_never_wrong_is_not_planned_without_noise() -> None:
    planned = PairedProportions.planned([1.0] * 60)
    assert planned.gained > 0
    found = planned.simulated(-0.15, -0.15, 4000, np.random.default_rng(0))
    assert np.mean(found.above <= 0.05) <= 0.05
    drawn = PairedProportions.planned([1.0] * 30 + [0.0] * 30).drawn(0.2, 4000, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(0.2, abs=0.01)
    assert (drawn != 0).mean() == pytest.approx(0.7 * 0.5 + 0.3 * 0.5, abs=0.01)  # 70% and 50%, independent


def test_holm_is_that_of_statsmodels() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.2, 0.03])
    assert holm(p) == pytest.approx(np.array([0.05, 0.12, 0.12, 0.03, 0.2, 0.12]), abs=1e-12)  # by hand
    random = np.random.default_rng(0).uniform(0, 0.2, (9, 50))
    for column in range(50):
        expected = multipletests(random[:, column], method="holm")[1]
        assert np.minimum(holm(random)[:, column], 1) == pytest.approx(expected, abs=1e-12)


def test_the_number_of_examples_that_would_decide_does_decide() -> None:
    sample = share(33, 60)  # 55% where more than 50% are required
    needed = sample.needed(0.5, 0.05, 0.2)
    assert needed == pytest.approx(stats.norm.isf([0.05, 0.2]).sum() ** 2 * 0.25 / 0.05**2, rel=0.1)
    assert needed is not None
    enough = stats.binom.isf(0.05, needed, 0.5) + 1
    assert stats.binom.sf(enough - 1, needed, 0.55) == pytest.approx(0.8, abs=0.03)
    assert share(30, 60).needed(0.5, 0.05, 0.2) is None


@pytest.mark.parametrize("truth", [0.1, 0.35])
def test_simulated_shares_have_the_true_value_and_its_power(truth: float) -> None:
    found = share(9, 50).simulated(truth, 0.1, 4000, np.random.default_rng(0))
    enough = next(k for k in range(51) if stats.binom.sf(k - 1, 50, 0.1) <= 0.05)
    assert np.mean(found.above <= 0.05) == pytest.approx(stats.binom.sf(enough - 1, 50, truth), abs=0.02)


def test_simulated_equals_are_called_different_no_more_often_than_stated() -> None:
    random = np.random.default_rng(1)
    tokens = random.integers(2, 60, 70).astype(float)
    gaps = tokens * random.gamma(0.7, 1, 70)  # skewed, as gaps of nats are
    found = RatioOfSums.of(list(gaps), list(tokens), exponential=True, paired=True).simulated(1.0, 1.0, 2000, random)
    assert np.mean(found.above <= 0.05) <= 0.05
    assert np.mean(found.below <= 0.05) <= 0.05
    moved = RatioOfSums.of(list(gaps), list(tokens), exponential=True, paired=True).simulated(3.0, 1.0, 200, random)
    assert np.mean(moved.above <= 0.05) > 0.95


@pytest.mark.parametrize(("truth", "threshold"), [(0.2, 0.2), (0.5, 0.5), (0.9, 0.9)])
def test_looking_after_every_example_does_not_raise_the_error_rate(truth: float, threshold: float) -> None:
    share_of = Sequential.planned(Proportion.of([0.0, 1.0] * 100))
    found = share_of.simulated(truth, threshold, 4000, np.random.default_rng(0))
    assert np.mean(found.above <= 0.05) <= 0.05
    assert np.mean(found.below <= 0.05) <= 0.05
    peeking = np.cumsum(np.random.default_rng(0).uniform(size=(200, 2000)) < truth, axis=0)
    n = np.arange(1, 201)[:, np.newaxis]
    exact = stats.binom.sf(peeking - 1, n, threshold)
    assert np.mean((exact <= 0.05).any(axis=0)) > 0.1  # what an exact test would do if it were looked at as often


def test_differences_of_two_models_may_be_looked_at_after_every_example_too() -> None:
    inner = PairedProportions(30, 30, 150)
    equal = Sequential.planned(inner).simulated(0.0, 0.0, 4000, np.random.default_rng(0))
    assert np.mean(equal.above <= 0.05) <= 0.05
    better = Sequential.planned(inner).simulated(0.25, 0.0, 1000, np.random.default_rng(0))
    assert np.mean(better.above <= 0.05) > 0.9


def test_a_sequential_bound_is_wider_than_the_exact_one_and_where_its_test_turns() -> None:
    scores = list(np.random.default_rng(0).permutation([1.0] * 37 + [0.0] * 83))
    exact, sequential = Proportion.of(scores), Sequential.of(scores, Proportion.of(scores))
    narrow, wide = exact.estimate(0.95), sequential.estimate(0.95)
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high
    assert p_above(sequential, wide.low) == pytest.approx(0.05, abs=1e-3)
    assert p_below(sequential, wide.high) == pytest.approx(0.05, abs=1e-3)


def test_a_plan_gives_long_documents_the_spread_of_long_ones_in_whatever_order_they_come() -> None:
    random = np.random.default_rng(0)
    tokens = np.array([*[2.0] * 30, *[3.0] * 50, *range(90, 110)])
    nats = tokens * np.concatenate([random.normal(5, 3, 80), random.normal(2, 0.05, 20)])
    planned = RatioOfSums(nats, tokens, exponential=True).planned()
    assert planned.paired
    assert np.median(np.abs(planned.numerators[planned.denominators > 80])) < 100 * 0.1  # of short ones 2 and more
    shuffled = random.permutation(100)
    again = RatioOfSums(nats[shuffled], tokens[shuffled], exponential=True).planned()
    assert sorted(np.abs(again.numerators)) == pytest.approx(sorted(np.abs(planned.numerators)))
    assert again.estimate(0.95).standard_error == pytest.approx(planned.estimate(0.95).standard_error, rel=0.02)
    few = RatioOfSums(np.array([3.0, 9.0]), np.array([2.0, 4.0]), exponential=True).planned()
    assert np.isfinite(few.numerators).all()

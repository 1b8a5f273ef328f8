"""Known cases: tests and bounds agree with calculations from their definitions, in exact or 50-digit arithmetic."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from statistics import NormalDist

import pytest
from scipy import stats

from llm_assets.evaluation.proportions import BoundedDifference, PairedProportions, Proportion
from llm_assets.evaluation.ratios import RESAMPLES, RatioOfSums, resamples
from llm_assets.evaluation.sequential import BOLDNESS, Sequential
from llm_assets.evaluation.unconditional import tango_score

TABLES = [
    (12, 5, 44), (3, 9, 30), (20, 20, 100), (7, 1, 25), (6, 4, 10),  # gained, lost, examples
    (0, 0, 40), (0, 0, 5), (3, 0, 40), (0, 5, 12), (10, 0, 10), (0, 10, 10), (1, 0, 1),
]  # fmt: skip
CLOSE = 1e-9
STEPS = 140
"""Halvings of an interval: to 42 digits."""


def root(falling: Callable[[Decimal], Decimal], low: Decimal, high: Decimal) -> Decimal:
    """Where a function that falls crosses 0; the end that is nearest to it if it does not."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def tango_by_definition(gained: int, lost: int, n: int, difference: Decimal) -> Decimal:
    """Tango's statistic; the share lost that is most likely, given the difference, is where the likelihood is level."""
    low, high = max(Decimal(0), -difference), (1 - difference) / 2

    def slope(q: Decimal) -> Decimal:
        terms = ((gained, q + difference, 1), (lost, q, 1), (n - gained - lost, 1 - difference - 2 * q, -2))
        return sum((sign * count / share for count, share, sign in terms if count), Decimal(0))

    q = root(slope, low, high)
    return (gained - lost - n * difference) / (n * (2 * q + difference * (1 - difference))).sqrt()


def tango_bounds(gained: int, lost: int, n: int, z: Decimal) -> tuple[Decimal, Decimal]:
    value = Decimal(gained - lost) / n

    def beyond(target: Decimal) -> Callable[[Decimal], Decimal]:
        return lambda difference: tango_by_definition(gained, lost, n, difference) - target

    low = root(beyond(z), Decimal(-1), value) if value > -1 else Decimal(-1)
    high = root(beyond(-z), value, Decimal(1)) if value < 1 else Decimal(1)
    return low, high


@pytest.mark.parametrize(("gained", "lost", "n"), TABLES)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_paired_bounds_are_roots_of_tangos_equation(gained: int, lost: int, n: int, confidence: float) -> None:
    found = PairedProportions(gained, lost, n).estimate(confidence)
    with localcontext() as context:
        context.prec = 50
        low, high = tango_bounds(gained, lost, n, Decimal(NormalDist().inv_cdf(confidence)))
    assert found.low == pytest.approx(float(low), abs=CLOSE)
    assert found.high == pytest.approx(float(high), abs=CLOSE)


@pytest.mark.parametrize(("gained", "lost", "n"), TABLES)
@pytest.mark.parametrize("difference", ["-0.3", "-0.05", "0.1", "0.6"])
def test_tangos_statistic_is_the_one_of_the_most_likely_shares(gained: int, lost: int, n: int, difference: str) -> None:
    with localcontext() as context:
        context.prec = 50
        expected = tango_by_definition(gained, lost, n, Decimal(difference))
    assert float(tango_score(gained, lost, n, float(difference))) == pytest.approx(float(expected), abs=CLOSE)


@pytest.mark.parametrize("differences", [[1.0, -1.0, 0.5, 0.0, 0.25, 0.5], [-1.0] * 4, [0.75] * 9, [0.0] * 20 + [-0.5]])
def test_graded_differences_are_bounded_as_the_binomial_test_does(differences: Sequence[float]) -> None:
    n, total = len(differences), sum(Fraction(difference + 1) / 2 for difference in differences)
    fewest, most = math.floor(total), math.ceil(total)
    sample = BoundedDifference.of(differences)
    for threshold in (-0.5, 0.0, 0.3):
        rate = (1 + Fraction(threshold)) / 2
        chances = [math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)]
        p = sample.p_values(threshold)
        assert p.above.item() == pytest.approx(float(sum(chances[fewest:])), abs=CLOSE)
        assert p.below.item() == pytest.approx(float(sum(chances[: most + 1])), abs=CLOSE)
    found = sample.estimate(0.95)
    low = stats.binomtest(fewest, n, alternative="greater").proportion_ci(0.95).low
    high = stats.binomtest(most, n, alternative="less").proportion_ci(0.95).high
    assert found.value == pytest.approx(float(2 * total / n - 1), abs=CLOSE)
    assert (found.low, found.high) == pytest.approx((2 * low - 1, 2 * high - 1), abs=CLOSE)


def capital(scores: Sequence[float], bound: Fraction) -> list[Fraction]:
    """What a gambler who starts with 1 has after each score."""
    seen: list[Fraction] = []
    owned = [Fraction(1)]
    for score in map(Fraction, scores):
        mean = (sum(seen) + 1) / Fraction(len(seen) + 2)
        variance = (sum(one**2 for one in seen) + 1) / Fraction(len(seen) + 2) - mean**2
        edge = mean - bound
        stake = min(max(edge / (variance + edge**2), Fraction(0)), Fraction(BOLDNESS) / bound)
        owned.append(owned[-1] * (1 + stake * (score - bound)))
        seen.append(score)
    return owned


def test_the_capital_of_three_bets_is_the_one_by_hand() -> None:
    stakes = Fraction(4, 5), Fraction(20, 19), Fraction(8, 7)
    owned = [Fraction(1)]
    for stake, gain in zip(stakes, (Fraction(3, 4), Fraction(3, 4), Fraction(-1, 4)), strict=True):
        owned.append(owned[-1] * (1 + stake * gain))
    assert capital([1, 1, 0], Fraction(1, 4)) == owned
    sample = Sequential.of([1, 1, 0], Proportion.of([1, 1, 0]))
    assert sample.p_values(0.25).above.item() == pytest.approx(95 / 272, abs=CLOSE)


@pytest.mark.parametrize("increments", [[1, 0, 0, 1, -1, 0, 1, 1, 1], [0.0] * 6, [1, 1, 1, 1, 1, 1], [-1, -1, 0, 1]])
@pytest.mark.parametrize("threshold", [-0.25, 0.0, 0.5])
def test_a_sequential_p_value_is_one_over_the_most_that_was_ever_won(
    increments: Sequence[float], threshold: float
) -> None:
    sample = Sequential.of(increments, PairedProportions(0, 0, len(increments)))
    p, bound = sample.p_values(threshold), (Fraction(threshold) + 1) / 2
    scores = [(score + 1) / 2 for score in increments]
    assert p.above.item() == pytest.approx(float(1 / max(capital(scores, bound))), abs=CLOSE)
    lost = [1 - score for score in scores]
    assert p.below.item() == pytest.approx(float(1 / max(capital(lost, 1 - bound))), abs=CLOSE)


def test_the_bounds_of_a_sequential_test_are_where_it_turns() -> None:
    scores = [float(n % 5 < 3) for n in range(60)]
    sample = Sequential.of(scores, Proportion.of(scores))
    found = sample.estimate(0.95)
    assert sample.p_values(found.low).above.item() == pytest.approx(0.05, abs=CLOSE)
    assert sample.p_values(found.high).below.item() == pytest.approx(0.05, abs=CLOSE)


GAPS = [3, -7, 5, 12, -4, 0, 9, -2, 6, -11, 8]
TOKENS = [4, 9, 2, 15, 7, 3, 6, 12, 5, 8, 10]


def value_and_squares(gaps: Sequence[int], tokens: Sequence[int]) -> tuple[Fraction, Fraction]:
    """Ratio of sums, and the square of its standard error."""
    n, value = len(gaps), Fraction(sum(gaps), sum(tokens))
    left = sum((gap - value * weight) ** 2 for gap, weight in zip(gaps, tokens, strict=True))
    return value, Fraction(n, n - 1) * left / Fraction(sum(tokens)) ** 2


def statistic(distance: Fraction, squares: Fraction) -> float:
    return math.copysign(math.sqrt(distance**2 / squares), distance) if squares else math.copysign(math.inf, distance)


def drawn_by_hand(gaps: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """The studentized statistic of every resample, document by document."""
    value, _ = value_and_squares(gaps, tokens)
    found = []
    for times in resamples(len(gaps)).astype(int):
        chosen = [document for document, count in enumerate(times) for _ in range(count)]
        again, squares = value_and_squares([gaps[d] for d in chosen], [tokens[d] for d in chosen])
        found.append(statistic(again - value, squares))
    return found


def with_worst(gaps: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], list[int]]:
    value, _ = value_and_squares(gaps, tokens)
    worst = min(range(len(gaps)), key=lambda d: gaps[d] - value * tokens[d])
    return [*gaps, gaps[worst]], [*tokens, tokens[worst]]


def above_by_hand(gaps: Sequence[int], tokens: Sequence[int], threshold: Fraction) -> float:
    gaps, tokens = with_worst(gaps, tokens)
    value, squares = value_and_squares(gaps, tokens)
    observed = statistic(value - threshold, squares)
    as_high = sum(one >= observed for one in drawn_by_hand(gaps, tokens))
    return max((1 + as_high) / (RESAMPLES + 1), stats.t.sf(observed, len(gaps) - 1))


def low_by_hand(gaps: Sequence[int], tokens: Sequence[int], level: Fraction) -> float:
    gaps, tokens = with_worst(gaps, tokens)
    value, squares = value_and_squares(gaps, tokens)
    highest = sorted(drawn_by_hand(gaps, tokens), reverse=True)[int(level * (RESAMPLES + 1)) - 1]
    return float(value) - max(highest, stats.t.isf(float(level), len(gaps) - 1)) * math.sqrt(squares)


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.25, 1.0])
def test_a_ratio_of_sums_is_tested_as_by_hand_on_the_same_resamples(threshold: float) -> None:
    p = RatioOfSums.of(GAPS, TOKENS).p_values(threshold)
    lost = [-gap for gap in GAPS]
    assert p.above.item() == pytest.approx(above_by_hand(GAPS, TOKENS, Fraction(threshold)), abs=CLOSE)
    assert p.below.item() == pytest.approx(above_by_hand(lost, TOKENS, -Fraction(threshold)), abs=CLOSE)


def test_the_bounds_of_a_ratio_of_sums_are_those_by_hand_on_the_same_resamples() -> None:
    value, squares = value_and_squares(GAPS, TOKENS)
    low = low_by_hand(GAPS, TOKENS, Fraction(1, 20))
    high = -low_by_hand([-gap for gap in GAPS], TOKENS, Fraction(1, 20))
    plain = RatioOfSums.of(GAPS, TOKENS).estimate(0.95)
    assert plain.value == pytest.approx(float(value), abs=CLOSE)
    assert plain.standard_error == pytest.approx(math.sqrt(squares), abs=CLOSE)
    assert (plain.low, plain.high) == pytest.approx((low, high), abs=CLOSE)
    perplexity = RatioOfSums.of(GAPS, TOKENS, exponential=True).estimate(0.95)
    assert (perplexity.low, perplexity.high) == pytest.approx((math.exp(low), math.exp(high)), abs=CLOSE)


@pytest.mark.parametrize(("threshold", "side"), [(4.125, "greater"), (2.75, "greater"), (6.875, "less"), (7.7, "less")])
def test_where_students_t_is_larger_a_mean_is_tested_as_scipy_does(threshold: float, side: str) -> None:
    values = [float(value) for value in range(11)]
    worst = max(values) if side == "less" else min(values)
    expected = stats.ttest_1samp([*values, worst], threshold, alternative=side).pvalue
    sample = RatioOfSums.of(values, [1.0] * 11)
    p = sample.p_values(threshold)
    assert (p.below if side == "less" else p.above).item() == pytest.approx(expected, abs=CLOSE)
    assert sample.estimate(0.95).standard_error == pytest.approx(stats.sem(values), abs=CLOSE)

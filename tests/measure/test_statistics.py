import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from distlab.measure.blocks import Measured, Sample, mean, paired, unpaired
from distlab.measure.statistics import Estimate

Array = NDArray[np.float64]

figures = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=12)


def each(values: Sequence[float] | Array) -> Sample:
    """Figures of runs in processes of their own."""
    return {k: Measured(float(value), str(k)) for k, value in enumerate(values)}


def typical(values: Sequence[float] | Array) -> Estimate:
    return mean(each(values)).typical


def paired_ratio(above: Sequence[float] | Array, below: Sequence[float] | Array) -> Estimate:
    return paired(each(above), each(below)).estimate


def unpaired_ratio(above: Sequence[float] | Array, below: Sequence[float] | Array) -> Estimate:
    return unpaired(each(above), each(below)).estimate


# Known answers.


def test_a_paired_ratio_by_hand() -> None:
    # Ratios 1/2, 2 and 8: their product is 8, so the geometric mean is 2. The logarithms to base 2
    # are -1, 1, 3: s = 2, and t(2; 0.975) = 4.30265, so 1 -+ 4.30265 * 2 / sqrt(3).
    found = paired_ratio([1.0, 6.0, 40.0], [2.0, 3.0, 5.0])
    assert found.value == pytest.approx(2.0, rel=1e-12)
    assert found.low == pytest.approx(2 ** (1 - 4.96827), rel=1e-5)
    assert found.high == pytest.approx(2 ** (1 + 4.96827), rel=1e-5)
    assert found.n == 3


def test_a_paired_ratio_is_no_ratio_of_means_and_no_mean_of_ratios() -> None:
    # Sums give 47 / 10 = 4.7, a mean of the ratios 3.5; the ratio of medians is 6 / 3 here, too.
    assert paired_ratio([1.0, 6.0, 40.0], [2.0, 3.0, 5.0]).value == pytest.approx(2.0)
    assert paired_ratio([1.0, 1.0], [2.0, 0.5]).value == pytest.approx(1.0)


def test_what_a_pair_shares_cancels() -> None:
    found = paired_ratio([180.0, 90.0, 18.0], [100.0, 50.0, 10.0])
    assert (found.low, found.high) == pytest.approx((1.8, 1.8), rel=1e-12)
    assert unpaired_ratio([180.0, 90.0, 18.0], [100.0, 50.0, 10.0]).low < 0.2  # type: ignore[operator]


def test_an_unpaired_ratio_by_hand() -> None:
    # Base 2: means 3 and 1, variances 1 and 4 of 3 and 5 values, so the standard error is
    # sqrt(1/3 + 4/5) = 1.06458; Welch-Satterthwaite gives 5.9538 degrees of freedom.
    above, below = [2.0, 3.0, 4.0], [-1.0, -1.0, 1.0, 3.0, 3.0]
    assert np.var(above, ddof=1) == 1 and np.var(below, ddof=1) == 4
    freedom = (1 / 3 + 4 / 5) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 5) ** 2 / 4)
    half = stats.t.ppf(0.975, freedom) * 1.0645813
    found = unpaired_ratio([2.0**x for x in above], [2.0**x for x in below])
    assert found.value == pytest.approx(4.0)
    assert found.low == pytest.approx(2 ** (2 - half), rel=1e-5)
    assert found.high == pytest.approx(2 ** (2 + half), rel=1e-5)
    assert found.n == 3


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_repeats_have_no_interval(n: int) -> None:
    for found in (
        typical([2.0] * n),
        paired_ratio([4.0] * n, [2.0] * n),
        unpaired_ratio([4.0] * 10, [2.0] * n),
    ):
        assert found == Estimate(pytest.approx(2.0), None, None, n)
        assert not found.excludes(1.0)


def test_equal_repeats_have_an_interval_without_width() -> None:
    two = pytest.approx(2.0)
    assert typical([2.0] * 4) == Estimate(two, two, two, 4)
    assert typical([2.0] * 7) == Estimate(two, two, two, 7)
    assert paired_ratio([4.0] * 3, [2.0] * 3) == Estimate(two, two, two, 3)
    assert unpaired_ratio([4.0] * 3, [2.0] * 4) == Estimate(two, two, two, 3)


def test_an_estimate_excludes_what_lies_outside_its_interval() -> None:
    found = Estimate(1.8, 1.7, 1.9, 5)
    assert found.excludes(1.0) and found.excludes(2.0)
    assert not found.excludes(1.7) and not found.excludes(1.85)


def test_an_estimate_in_another_unit_and_the_other_way_round() -> None:
    assert Estimate(1.6, 1.2, 2.0, 5).scaled(0.5) == Estimate(0.8, 0.6, 1.0, 5)
    assert Estimate(2.0, 1.0, 4.0, 5).inverted() == Estimate(0.5, 0.25, 1.0, 5)
    assert Estimate(2.0, None, None, 2).scaled(2.0) == Estimate(4.0, None, None, 2)
    assert Estimate(2.0, None, None, 2).inverted() == Estimate(0.5, None, None, 2)


@given(figures, st.integers(0, 2**32))
def test_a_ratio_the_other_way_round_is_the_reciprocal(below: list[float], seed: int) -> None:
    above = list(np.random.default_rng(seed).uniform(0.1, 10, len(below)))
    for ratio in (paired_ratio, unpaired_ratio):
        there, back = ratio(above, below), ratio(below, above).inverted()
        assert there.value == pytest.approx(back.value, rel=1e-9)
        if there.low is not None:
            assert (there.low, there.high) == pytest.approx((back.low, back.high), rel=1e-6)
            assert there.low <= there.value <= there.high  # type: ignore[operator]


@given(figures, st.integers(0, 2**32))
def test_the_unit_of_measurement_does_not_matter(values: list[float], seed: int) -> None:
    shuffled = list(np.random.default_rng(seed).permutation(values))
    doubled, single = typical([2 * value for value in shuffled]), typical(values).scaled(2.0)
    assert doubled.value == pytest.approx(single.value)
    if single.low is not None:
        assert (doubled.low, doubled.high) == pytest.approx((single.low, single.high), rel=1e-6)


# Coverage: how many intervals hold the truth, over 1,000 simulated studies.

STUDIES = 1000


def noise(random: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    """Logarithms of throughputs around 0, as a machine disturbs them."""
    if kind == "one-sided":
        return -random.exponential(0.02, shape)
    clean = random.normal(0, 0.02, shape)
    if kind == "outliers":  # one run in twenty loses 10 % to 50 % to a neighbour
        return clean - (random.random(shape) < 0.05) * random.uniform(0.1, 0.7, shape)
    return clean


def simulated(kind: str, n: int, true_ratio: float) -> list[tuple[Array, Array]]:
    random = np.random.default_rng([n, *map(ord, kind)])
    shape = (STUDIES, n)
    drift = 0.02 * random.normal(0, 1, shape).cumsum(axis=1) if kind == "drift" else 0.0
    above = 1e5 * true_ratio * np.exp(noise(random, kind, shape) + drift)
    below = 1e5 * np.exp(noise(random, kind, shape) + drift)
    return list(zip(above, below, strict=True))


def held(estimates: list[Estimate], truth: float) -> float:
    return sum(not estimate.excludes(truth) for estimate in estimates) / len(estimates)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("kind", ["log-normal", "drift", "outliers", "one-sided"])
def test_95_percent_of_intervals_of_a_paired_ratio_hold_it(kind: str, n: int) -> None:
    found = [paired_ratio(*pair) for pair in simulated(kind, n, 1.8)]
    assert 0.935 <= held(found, 1.8) <= 0.99


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("kind", ["log-normal", "outliers", "one-sided"])
def test_95_percent_of_intervals_of_an_unpaired_ratio_hold_it(kind: str, n: int) -> None:
    found = [unpaired_ratio(*pair) for pair in simulated(kind, n, 1.8)]
    assert 0.935 <= held(found, 1.8) <= 0.99


@pytest.mark.parametrize("n", [3, 5, 6, 10, 20])
@pytest.mark.parametrize("kind", ["log-normal", "outliers", "one-sided"])
def test_95_percent_of_intervals_of_a_figure_hold_that_of_a_typical_run(kind: str, n: int) -> None:
    many = np.exp(noise(np.random.default_rng(0), kind, (1_000_000,)))
    found = [typical(values) for _, values in simulated(kind, n, 1.0)[:500]]
    assert held(found, 1e5 * float(np.median(many))) >= 0.935


def test_percentiles_of_the_bootstrap_hold_too_little_at_five_repeats() -> None:
    above, below = (np.log(side) for side in zip(*simulated("log-normal", 5, 1.0), strict=True))
    found = stats.bootstrap(
        (np.subtract(above, below),),
        np.mean,
        axis=1,
        n_resamples=999,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert np.mean((found.low <= 0) & (found.high >= 0)) < 0.9


def test_a_difference_of_ten_percent_is_told_in_five_quiet_repeats() -> None:
    found = [paired_ratio(*pair) for pair in simulated("log-normal", 5, 1.1)]
    assert 1 - held(found, 1.0) >= 0.98


def test_pairs_tell_through_a_drift_what_independent_samples_do_not() -> None:
    studies = simulated("drift", 10, 1.03)
    paired = [paired_ratio(*pair) for pair in studies]
    unpaired = [unpaired_ratio(*pair) for pair in studies]
    assert 1 - held(paired, 1.0) > 0.8 > 0.6 > 1 - held(unpaired, 1.0)


# Recorded repeats: two consecutive ones of each framework in each round.

Rounds = dict[tuple[int, str], list[tuple[float, float]]]


@pytest.fixture(scope="module")
def rounds() -> Rounds:
    text = (Path(__file__).parent / "recorded_repeats.json").read_text()
    found: dict[tuple[int, str], dict[int, dict[int, float]]] = {}
    for sitting, number, framework, turn, *_, rate in json.loads(text)["repeats"]:
        found.setdefault((sitting, framework), {}).setdefault(number, {})[turn] = rate
    return {
        key: [(by_round[k][0], by_round[k][1]) for k in sorted(by_round)]
        for key, by_round in found.items()
    }


def apart(
    rounds: Rounds, repeats: int, until: int | None = None
) -> list[list[tuple[float, float]]]:
    """Studies of a framework against itself that share no repeat."""
    return [
        by_round[start : start + repeats]
        for by_round in rounds.values()
        for start in range(0, len(by_round[:until]) - repeats + 1, repeats)
    ]


def test_a_framework_does_not_differ_from_itself(rounds: Rounds) -> None:
    studies = apart(rounds, 5)[:20]
    assert len(studies) == 20
    told = [paired_ratio(*zip(*study, strict=True)).excludes(1.0) for study in studies]
    assert sum(told) <= 1


@pytest.mark.parametrize("repeats", [3, 5, 10])
def test_false_alarms_are_at_most_5_percent_of_400_studies(rounds: Rounds, repeats: int) -> None:
    random = np.random.default_rng(repeats)
    told = 0
    for _ in range(400):
        by_round = list(rounds.values())[random.integers(len(rounds))]
        start = random.integers(0, len(by_round) - repeats + 1)
        block = np.array(by_round[start : start + repeats])
        first = random.integers(0, 2, repeats)  # which turn is whose
        each = np.arange(repeats)
        told += paired_ratio(block[each, first], block[each, 1 - first]).excludes(1.0)
    assert told <= 20


def test_a_slow_down_of_ten_percent_is_found_in_recorded_repeats(rounds: Rounds) -> None:
    quiet = {key: by_round[:25] for key, by_round in rounds.items() if key[0] == 0}
    for repeats, at_least, of in ((5, 11, 15), (10, 5, 6)):
        studies = apart(quiet, repeats)
        assert len(studies) == of
        found = [
            paired_ratio([a / 1.1 for a, _ in study], [b for _, b in study]) for study in studies
        ]
        told = [ratio for ratio in found if ratio.excludes(1.0)]
        assert len(told) >= at_least
        assert all(ratio.value < 1 for ratio in told)

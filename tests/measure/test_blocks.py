import math

import numpy as np
import pytest
from scipy import stats

from distlab.measure.blocks import (
    DAY_SD,
    PROCESS_SD,
    Measured,
    Sample,
    blocks,
    difference,
    mean,
    paired,
    unpaired,
)


def sample(figures: list[float], groups: str | None = None) -> Sample:
    """Figures by repeat; a letter is the group of each, or no group is known."""
    return {k: Measured(figure, groups[k] if groups else None) for k, figure in enumerate(figures)}


def test_repeats_that_share_a_group_on_either_side_are_a_block() -> None:
    assert blocks(sample([1] * 5, "aabcc"), sample([1] * 5, "uvvwx")) == [[0, 1, 2], [3, 4]]
    assert blocks(sample([1] * 3, "abc"), sample([1] * 3, "abc")) == [[0], [1], [2]]
    assert blocks(sample([1] * 3)) == [[0, 1, 2]]
    # A bridge joins two blocks that stood apart.
    assert blocks(sample([1] * 4, "abca"), sample([1] * 4, "uvwv")) == [[0, 1, 3], [2]]


def test_a_process_for_each_repeat_gives_students_t() -> None:
    # Logarithms of the ratios 2, 1.6, 2.5: mean 0.6931, sd 0.2231, t(2) = 4.303, n = 3.
    found = paired(sample([2, 3.2, 5], "abc"), sample([1, 2, 2], "def"))
    assert (found.draws, found.floor, found.df, found.n) == (3, 0.0, 2, 3)
    estimate = found.estimate
    assert estimate.value == pytest.approx(2.0)
    assert (estimate.low, estimate.high) == pytest.approx((1.1489, 3.4815), abs=1e-4)
    # 0.6931 / (0.2231 / sqrt(3)) = 5.380
    assert found.p() == pytest.approx(2 * stats.t.sf(5.380, 2), rel=1e-3)


def test_a_block_is_one_draw_however_many_repeats_it_has() -> None:
    # Block means of the logarithms: 0.2, 0, 0.4.
    logs = [0.1, 0.3, 0.0, 0.5, 0.3]
    found = mean(sample([math.exp(x) for x in logs], "aabcc"))
    assert (found.draws, found.n, found.df) == (3, 5, 2)
    assert (found.value, found.error) == pytest.approx((0.2, 0.2 / math.sqrt(3)))


def test_without_new_processes_a_ratio_is_known_to_seven_percent_at_best() -> None:
    still = paired(sample([2.0] * 5), sample([1.0] * 5))
    assert still.floor == 2 * PROCESS_SD**2
    assert still.estimate.low == pytest.approx(2 * math.exp(-1.96 * math.sqrt(2) * 0.025), rel=1e-4)
    two = paired(sample([2.0] * 4, "aabb"), sample([1.0] * 4, "cccd"))
    assert (two.draws, two.floor) == (4, 2 * PROCESS_SD**2)  # c joins a and b
    two = paired(sample([2.0] * 4, "aabb"), sample([1.0] * 4, "ccdd"))
    assert two.floor == PROCESS_SD**2


def test_a_known_floor_adds_degrees_of_freedom() -> None:
    # Variance of the mean 0.01 / 4 from 3 degrees of freedom, and the floor 0.000625.
    logs = np.array([-1, 1, -1, 1]) * 0.1 * math.sqrt(3 / 4)
    found = mean(sample(list(np.exp(logs))))
    assert found.error == pytest.approx(math.sqrt(0.0025 + 0.000625))
    assert found.df == pytest.approx(3 * (0.003125 / 0.0025) ** 2)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_repeats_have_no_interval(n: int) -> None:
    found = paired(sample([2.0] * n, "abc"), sample([1.0] * n, "def"))
    assert (found.estimate.low, found.estimate.n, found.p()) == (None, n, 1.0)
    assert difference(sample([2.0] * n), sample([1.0] * n)).low is None
    assert unpaired(sample([2.0] * n), sample([1.0] * 5)).error is None


def test_only_common_repeats_are_paired() -> None:
    left, right = sample([1, 2, 4, 8], "abcd"), sample([1, 1, 1, 1], "abcd")
    assert paired({k: left[k] for k in (1, 2, 3)}, right).estimate.value == pytest.approx(4.0)
    with pytest.raises(ValueError, match="no repeat in common"):
        paired({0: Measured(1.0, None)}, {1: Measured(1.0, None)})


def test_independent_samples_are_welchs() -> None:
    left, right = [1.0, 1.2, 1.1, 1.3], [0.9, 1.0, 0.7]
    found = unpaired(sample(left, "abcd"), sample(right, "efg"))
    test = stats.ttest_ind(np.log(left), np.log(right), equal_var=False)
    assert (found.p(), found.df) == pytest.approx((test.pvalue, test.df))
    apart = unpaired(sample(left, "abcd"), sample(right, "efg"), apart=True)
    assert found.error is not None and apart.error is not None
    assert apart.error**2 - found.error**2 == pytest.approx(2 * DAY_SD**2)


def test_a_difference_in_seconds_by_hand() -> None:
    # 2, 3, 4: mean and median 3, sd 1, t(2) = 4.303; the median's is sqrt(pi / 2) times as wide.
    found = difference(sample([10, 10, 10], "abc"), sample([8, 7, 6], "def"))
    assert (found.value, found.low) == pytest.approx(
        (3.0, 3 - 4.30265 * (math.pi / 6) ** 0.5), 1e-4
    )
    kept = difference(sample([4.0] * 3), sample([3.0] * 3))
    assert kept.high == pytest.approx(1 + 1.96 * 5 * PROCESS_SD, abs=1e-4)


@pytest.mark.parametrize("figure", [0.0, -1.0, math.nan, math.inf])
def test_only_positive_figures_have_a_mean(figure: float) -> None:
    with pytest.raises(ValueError, match="not positive and finite"):
        mean({0: Measured(figure, None)})
    with pytest.raises(ValueError, match="there is no figure"):
        mean({})


def test_noise_to_one_side_is_held_by_the_median_too() -> None:
    # The ends of six draws hold the median in 96.9 %, the second ones of nine in 96.1 %.
    logs = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]
    # t(4) sqrt(0.00025) sqrt(pi / 10) = 2.776 * 0.01581 * 0.5605
    five = mean(sample([math.exp(x) for x in logs[:5]], "abcde"))
    assert five.middle == pytest.approx((0.02 - 0.02461, 0.02 + 0.02461), abs=1e-5)
    assert mean(sample([math.exp(x) for x in logs[:6]], "abcdef")).middle == pytest.approx(
        (0, 0.05)
    )
    found = mean(sample([math.exp(x) for x in logs], "abcdefghi"))
    assert found.middle == pytest.approx((0.01, 0.07))
    # Five still runs and four that were slowed: the mean is surely below the others' speed.
    slowed = mean(sample([1.0] * 5 + [0.5] * 4, "abcdefghi"))
    assert slowed.estimate.high is not None and slowed.estimate.high < 1
    assert slowed.typical.high == 1.0

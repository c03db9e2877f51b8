import math
from collections import Counter

import numpy as np
import pytest
from scipy.special import stdtrit

from distlab.measure.design import (
    CORRECTION,
    POWER,
    level_ratio,
    place,
    repeats_a_group,
    repeats_to_tell,
)
from distlab.measure.statistics import Estimate

CELLS = ("a", "b", "c")


def order(study: str, repeat: int) -> str:
    return "".join(sorted(CELLS, key=lambda cell: place(study, repeat, cell)))


def test_an_order_is_drawn_anew_in_each_repeat_and_is_the_same_again() -> None:
    orders = [order("0a1b", repeat) for repeat in range(6000)]
    assert orders == [order("0a1b", repeat) for repeat in range(6000)]
    assert orders[:50] != [order("0a1c", repeat) for repeat in range(50)]
    # Six orders, a thousand of each; 29 is the standard deviation.
    found = Counter(orders)
    assert len(found) == 6
    assert max(abs(count - 1000) for count in found.values()) < 5 * 29


@pytest.mark.parametrize(
    ("starts", "runs", "repeats", "expected"),
    [
        ([], [], 5, 1),  # nothing known yet: each repeat its own processes
        ([4.0, 4.0], [4.0], 30, 1),
        ([4.0], [1.0, 1.0], 30, 2),  # sqrt(4 / 1)
        ([9.0], [1.0], 30, 3),
        ([90.0], [1.0], 30, 9),
        ([90.0], [1.0], 10, 3),  # three groups are left
        ([90.0], [1.0], 3, 1),
        ([90.0], [1.0], 2, 2),  # nothing is claimed: one group
        ([0.1], [10.0], 10, 1),
    ],
)
def test_groups_serve_as_many_repeats_as_their_start_is_worth(
    starts: list[float], runs: list[float], repeats: int, expected: int
) -> None:
    assert repeats_a_group(starts, runs, repeats) == expected


def test_the_levels_of_noise_by_hand() -> None:
    # Logarithms: within 0 and 2 (variance 2), means 1, 5, 9 (variance 16): between 16 - 2 / 2.
    groups = [[math.exp(mean - 1), math.exp(mean + 1)] for mean in (1.0, 5.0, 9.0)]
    assert level_ratio([groups]) == pytest.approx(math.sqrt(2 / 15))
    assert level_ratio([groups, [[5.0], [6.0]]]) == pytest.approx(math.sqrt(2 / 15))


@pytest.mark.parametrize(
    "cells", [[], [[[1.0, 2.0]]], [[[1.0], [2.0]]], [[[2.0, 2.0], [2.0, 2.0]]]]
)
def test_levels_that_are_not_known_are_taken_as_alike(cells: list[list[list[float]]]) -> None:
    assert level_ratio(cells) == 1.0


def test_processes_that_show_no_difference_are_still_varied() -> None:
    # The same mean in each group: what is left between is a tenth of nothing.
    cells = [[[1.0, 1.1, 1.2], [1.0, 1.1, 1.21], [1.01, 1.1, 1.2]]]
    assert repeats_a_group([4.0], [1.0], 30, level_ratio(cells)) == 10


def test_where_runs_differ_more_than_processes_a_group_serves_more() -> None:
    assert repeats_a_group([4.0], [1.0], 30, ratio=2.0) == 4


def test_more_repeats_are_needed_for_a_smaller_difference_and_more_noise() -> None:
    def needed(ratio: float, half: float) -> int | None:
        return repeats_to_tell(Estimate(ratio, ratio / (1 + half), ratio * (1 + half), 5))

    assert needed(1.02, 0.03) is not None
    assert needed(1.02, 0.03) > needed(1.03, 0.03) > 5  # type: ignore[operator]
    assert needed(1.02, 0.04) > needed(1.02, 0.03)  # type: ignore[operator]
    assert needed(1.0001, 0.03) is None
    assert needed(1 / 1.02, 0.03) == needed(1.02, 0.03)
    assert repeats_to_tell(Estimate(1.5, None, None, 2)) is None


def test_so_many_repeats_tell_a_difference_as_often_as_is_promised() -> None:
    """Half the interval of 1 % noise at 5 repeats is t(4) / sqrt(5) of it."""
    random, noise, truth = np.random.default_rng(1), 0.01, 0.015
    half = 2.776 * noise / math.sqrt(5)
    ends = math.exp(truth - half), math.exp(truth + half)
    n = repeats_to_tell(Estimate(math.exp(truth), *ends, 5))
    assert n is not None
    draws = random.normal(truth, noise, (4000, n))
    width = CORRECTION * stdtrit(n - 1, 0.975) * draws.std(axis=1, ddof=1) / math.sqrt(n)
    assert (draws.mean(axis=1) > width).mean() == pytest.approx(POWER, abs=0.1)

import math

import numpy as np
import pytest

from distlab.measure.drift import drift


def test_a_known_trend() -> None:
    # Two cells, 1 % more in each repeat, and noise that cancels between them.
    noise = [0.001, -0.001, 0.001, -0.001, 0.001]
    cells = [
        {k: 100 * math.exp(0.01 * k + sign * noise[k]) for k in range(5)} for sign in (1.0, -1.0)
    ]
    found = drift(cells)
    assert found is not None and found.told
    assert found.change == pytest.approx(math.expm1(0.04))


def test_figures_that_stand_still_do_not_drift() -> None:
    found = drift([dict.fromkeys(range(5), 7.0)])
    assert found is not None and not found.told and found.change == 0


def test_fewer_than_three_repeats_tell_nothing() -> None:
    assert drift([{0: 1.0, 1: 2.0}]) is None
    assert drift([]) is None


def test_without_a_trend_one_in_twenty_is_told() -> None:
    random = np.random.default_rng(3)
    told = 0
    for _ in range(1000):
        shared = random.normal(0, 0.02, 5)
        cells = [dict(enumerate(np.exp(shared + random.normal(0, 0.01, 5)))) for _ in range(4)]
        found = drift(cells)
        told += found is not None and found.told
    # 50 of 1,000, with a standard deviation of 6.9.
    assert 50 - 4 * 6.9 < told < 50 + 4 * 6.9

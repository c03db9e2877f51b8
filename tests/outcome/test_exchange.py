import numpy as np
import pytest
from summaries import summary

from distlab.outcome.events import AllReduce, ExchangeWindows
from distlab.outcome.exchange import Share, all_reduces, in_words, share, told


def windows(on: list[float], off: list[float]) -> ExchangeWindows:
    return ExchangeWindows(tuple(on), tuple(off))


def test_the_interval_is_of_the_extremes_of_the_slowest_ranks() -> None:
    assert share([]) is None
    ranks = [
        windows([1.0, 2.0, 9.0, 1.0], [1.0, 1.0, 1.0, 2.0]),
        windows([4.0, 1.0, 1.0, 8.0], [0.5, 3.0, 0.5, 1.0]),
    ]
    # Slowest with: 4, 2, 9, 8, median 6; slowest without: 1, 3, 1, 2, median 1.5.
    assert share(ranks) == Share(0.75, pytest.approx(1 - 3 / 2), pytest.approx(1 - 1 / 9))


def test_of_three_windows_each_way_there_is_no_interval() -> None:
    assert share([windows([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])]) == Share(0.5)


def test_intervals_hold_what_they_promise_and_tell_nothing_of_nothing() -> None:
    random = np.random.default_rng(0)
    held = false_alarms = 0
    for _ in range(2000):
        noise = 1 + 0.05 * random.exponential(size=(2, 4))
        found = share([windows(list(1.25 * noise[0]), list(noise[1]))])
        assert found is not None and found.low is not None and found.high is not None
        assert found.low <= found.value <= found.high
        held += found.low <= 0.2 <= found.high
        none = share([windows(list(noise[0]), list(noise[1]))])
        false_alarms += none is not None and told(none.low)
    # Of 2000: 34 of 35 and 1 of 70 by theory.
    assert 0.96 < held / 2000 < 0.985
    assert false_alarms / 2000 < 0.025


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((0.123, 0.1, 0.15), "12.3% of a step (10.0% to 15.0%)"),
        ((0.03, -0.01, 0.07), "not told from 0 (-1.0% to 7.0%)"),
        # As it was reported where the exchange is cheap and the machine became slower.
        ((-0.107, -0.12, -0.09), "not told from 0 (-12.0% to -9.0%)"),
        ((0.05, 0.0, 0.1), "not told from 0 (0.0% to 10.0%)"),
        ((0.123, None, None), "12.3% of a step (no interval)"),
        ((None, None, None), None),
    ],
)
def test_a_share_in_words(shares: tuple[float | None, ...], words: str | None) -> None:
    names = [f"communication_share{end}" for end in ("", "_low", "_high")]
    assert in_words(summary(**dict(zip(names, shares, strict=True)))) == words


def test_of_a_run_before_there_were_intervals_the_share_is_said() -> None:
    old = {"communication_share": 0.25}
    assert in_words(old) == "25.0% of a step (no interval)"


def test_an_average_takes_as_long_as_its_slowest_rank() -> None:
    ranks = [
        (AllReduce(1024, (1.0, 5.0)), AllReduce(2048, (2.0, 2.0))),
        (AllReduce(1024, (3.0, 4.0)), AllReduce(2048, (1.0, 3.0))),
    ]
    assert all_reduces(ranks) == [
        {"bytes": 1024, "seconds": [3.0, 5.0]},
        {"bytes": 2048, "seconds": [2.0, 3.0]},
    ]
    assert all_reduces([]) == all_reduces([ranks[0], ()]) == []

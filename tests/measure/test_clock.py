from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distlab.measure.clock import (
    Window,
    compile_seconds,
    span_lengths,
    step_times,
    throughput,
    time_to_accuracy,
)


@pytest.mark.parametrize(
    ("steps", "gflop", "expected"),
    [
        (1, 1, [1]),
        (31, 0.024, [31]),
        (938, 0.0243, [938]),  # the MLP at batch 64: 23 GFLOP
        (938, 0.1449, [190, 190, 190, 190, 178]),  # LeNet-5 at batch 64: 136 GFLOP
        (100, 25, [10] * 10),  # a step is a span's worth, but a span has ten steps or more
        (25, 1000, [10, 10, 5]),
        (100, 0.5, [50, 50]),
    ],
)
def test_span_lengths_known(steps: int, gflop: float, expected: list[int]) -> None:
    assert span_lengths(steps, int(gflop * 1e9)) == expected
    assert span_lengths(steps, int(gflop * 1e9), "cpu") == expected
    assert span_lengths(steps, int(gflop * 1e11), "gpu") == expected


@given(st.integers(1, 200_000), st.integers(1, 10**13))
def test_spans_cover_an_epoch_in_nearly_equal_parts(steps: int, flops: int) -> None:
    lengths = span_lengths(steps, flops)
    assert sum(lengths) == steps
    assert len(set(lengths[:-1])) <= 1
    assert all(length >= 10 and length % 10 == 0 for length in lengths[:-1])
    assert 0 < lengths[-1] <= lengths[0]


def test_throughput_is_all_ranks_samples_over_the_slowest_window() -> None:
    # Two ranks, 640 samples each. A mean of the windows would give 1280 / 3 = 426.7, a mean of
    # the ranks' rates (640/2 + 640/4) / 2 = 240, their sum 480, one rank alone 160.
    assert throughput(1280, [2.0, 4.0]) == 320.0
    assert throughput(1280, [4.0, 2.0]) == 320.0


def test_a_faster_rank_does_not_raise_throughput_and_a_slower_one_lowers_it() -> None:
    assert throughput(100, [1.0, 2.0]) == throughput(100, [0.1, 2.0]) == 50.0
    assert throughput(100, [1.0, 2.5]) == 40.0


def spans(*seconds: float, steps: int = 10) -> tuple[tuple[int, float], ...]:
    return tuple((steps, one) for one in seconds)


def percentiles(*windows: Window) -> list[Any]:
    found = step_times(windows)
    return [found[name] for name in ("p50", "p95", "p99")]


def test_percentiles_by_hand() -> None:
    # Step times 1, 2, ..., 100 ms. Type 7: position (n - 1) p = 49.5, 94.05 and 98.01 from 0.
    window = Window(60.0, spans(*(0.010 * k for k in range(1, 101))))
    found = step_times([window])
    by_hand = {
        "mean": 60.0,
        "p50": 50.5,
        "p95": 95.05,
        "p99": 99.01,
        "spans": 100,
        "span_steps": 10,
    }
    assert found == pytest.approx(by_hand, rel=1e-12)
    assert list(found) == list(by_hand)


@pytest.mark.parametrize(
    ("count", "given"),
    [(9, []), (10, [0]), (19, [0]), (20, [0, 1]), (99, [0, 1]), (100, [0, 1, 2])],
)
def test_a_percentile_is_given_of_spans_enough_and_no_fewer(count: int, given: list[int]) -> None:
    found = percentiles(Window(1.0, spans(*[0.01] * count)))
    assert [place for place, value in enumerate(found) if value is not None] == given


def test_of_epochs_that_are_one_span_each_there_is_the_mean_alone() -> None:
    epochs = [Window(0.02 * k, spans(0.02 * k)) for k in range(1, 201)]
    assert percentiles(*epochs) == [None] * 3
    assert step_times(epochs)["mean"] == pytest.approx(201.0)


def test_percentiles_pool_the_epochs_and_ignore_their_order() -> None:
    first = Window(1.0, spans(*[0.05] * 5, *[0.03] * 3))
    second = Window(1.0, spans(0.01, 0.01))
    assert percentiles(first, second)[0] == pytest.approx(4.0)
    assert percentiles(first, second) == percentiles(second, first)


def test_the_short_last_span_does_not_count() -> None:
    without = spans(*[0.01] * 10, *[0.03] * 10)
    assert percentiles(Window(1.0, (*without, (1, 0.5)))) == percentiles(Window(1.0, without))
    assert step_times([Window(1.0, (*without, (1, 0.5)))])["spans"] == 20


def test_one_short_span_counts_where_there_is_no_other() -> None:
    found = step_times([Window(0.06, ((3, 0.06),))])
    assert (found["mean"], found["spans"], found["span_steps"]) == (pytest.approx(20.0), 1, 3)


def test_a_last_epoch_of_one_span_takes_no_percentiles_away() -> None:
    whole = Window(1.0, spans(*[0.01] * 10, *[0.03] * 10))
    assert percentiles(whole, Window(0.5, ((1, 0.5),))) == percentiles(whole)


def test_percentiles_are_those_of_step_times_and_not_of_span_times() -> None:
    window = Window(15.0, spans(*[1.0] * 5, *[2.0] * 5, steps=100))
    assert percentiles(window)[0] == pytest.approx(15.0)


@given(
    st.lists(st.floats(1e-4, 10.0), min_size=100, max_size=140),
    st.integers(1, 100),
)
def test_percentiles_agree_with_sorting_by_hand(seconds: list[float], steps: int) -> None:
    found = step_times([Window(sum(seconds), spans(*seconds, steps=steps))])
    times = sorted(1e3 * s / steps for s in seconds)
    for name, share in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
        position = share * (len(times) - 1)
        below = int(position)
        above = min(below + 1, len(times) - 1)
        by_hand = times[below] + (position - below) * (times[above] - times[below])
        value = found[name]
        assert value is not None and np.isclose(value, by_hand, rtol=1e-9)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.5, 1.0), (0.90, 1.0), (0.91, 3.0), (0.95, 7.0), (0.96, None), (1.0, None)],
)
def test_time_to_accuracy_sums_whole_epochs(target: float, expected: float | None) -> None:
    assert time_to_accuracy([0.90, 0.94, 0.95], [1.0, 2.0, 4.0], target) == expected


def test_time_to_accuracy_is_the_first_time_and_not_the_last() -> None:
    assert time_to_accuracy([0.9, 0.5, 0.9], [1.0, 2.0, 4.0], 0.8) == 1.0


def test_time_to_accuracy_without_epochs() -> None:
    assert time_to_accuracy([], [], 0.5) is None


def test_compilation_is_what_first_calls_took_beyond_later_ones() -> None:
    # 1 + 8 + 10 steps, of which each takes 0.1 s, and 3 s of compilation in the first two calls.
    first = [(1, 2.1), (8, 1.8), (10, 1.0)]
    assert compile_seconds(first, (10, 1.0)) == pytest.approx(3.0)


def test_compilation_is_never_negative() -> None:
    assert compile_seconds([(1, 0.01), (10, 0.5)], (10, 1.0)) == 0.0

import itertools
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from distlab.machine import ceiling
from distlab.machine.ceiling import matrix_product_rate


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


class Clock:
    """A clock on which only products take time: one number of seconds for each, in turn."""

    def __init__(self, durations: Iterator[float]) -> None:
        self.now, self.products, self.threads = 0.0, 0, [[0]]
        self.durations = durations

    def perf_counter(self) -> float:
        return self.now

    def matmul(self, *operands: Any, out: Any) -> Any:
        self.now += next(self.durations)
        self.products += 1
        self.threads.append(blas_threads())
        return np.multiply(*operands, out=out)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    # The first product would be the fastest; 0.5 s is the best of those that count.
    clock = Clock(itertools.chain([0.25], itertools.cycle([1.0, 0.5, 2.0])))
    monkeypatch.setattr(ceiling.time, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(ceiling.np, "matmul", clock.matmul)
    return clock


def test_best_product_after_the_first_counts_two_n_cubed(clock: Clock) -> None:
    assert matrix_product_rate(1, (10,), seconds=10.0) == 2 * 10**3 / 0.5


def test_products_are_repeated_for_about_the_time_given(clock: Clock) -> None:
    matrix_product_rate(1, (4,), seconds=7.0)
    assert clock.products == 1 + 6  # 3.5 s for each three


def test_one_product_is_measured_even_in_no_time(clock: Clock) -> None:
    assert matrix_product_rate(1, (10,), seconds=0.0) == 2 * 10**3 / 1.0


@pytest.mark.parametrize("threads", [1, 2])
def test_blas_has_the_threads_asked_for_and_gets_its_own_back(clock: Clock, threads: int) -> None:
    with threadpool_limits(2 if threads == 1 else 1, user_api="blas"):
        before = blas_threads()
        matrix_product_rate(threads, (4,), seconds=2.0)
        assert blas_threads() == before
    assert clock.threads[1:] == [[threads] * len(before)] * clock.products


def test_of_several_sizes_the_best_rate_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 2 x 2 take a second and those of 4 x 4 two, so that the larger are faster."""
    now = 0.0
    monkeypatch.setattr(ceiling.time, "perf_counter", lambda: now)
    seen = []

    def prepare(matrix: np.ndarray) -> Any:
        seen.append(matrix)

        def multiply() -> None:
            nonlocal now
            now += len(matrix) / 2

        return multiply

    assert ceiling.best_rate(prepare, (2, 4), seconds=8.0) == 2 * 4**3 / 2
    assert [matrix.shape for matrix in seen] == [(2, 2), (4, 4)]
    assert all(matrix.dtype == np.float32 and np.abs(matrix).max() <= 1 for matrix in seen)


@pytest.mark.parametrize(("device", "products"), [("cpu", 1), ("gpu", 10)])
def test_a_wait_for_a_gpu_comes_after_several_products(
    monkeypatch: pytest.MonkeyPatch, device: str, products: int
) -> None:
    """A product takes a second, and a wait half a second."""
    now = 0.0
    calls: list[str] = []
    monkeypatch.setattr(ceiling.time, "perf_counter", lambda: now)
    monkeypatch.setattr(ceiling, "SIZES", {device: (4,)})

    def multiply() -> str:
        nonlocal now
        now += 1.0
        calls.append("product")
        return "the last product"

    def wait(product: Any) -> None:
        nonlocal now
        now += 0.5
        calls.append(product)

    rate = ceiling.device_rate(device, lambda matrix: multiply, wait)
    assert rate == pytest.approx(products * 2 * 4**3 / (products + 0.5))
    assert calls == (["product"] * products + ["the last product"]) * 2  # the first doesn't count


def test_without_threadpoolctl_products_are_timed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert 0 < matrix_product_rate(1, (64,), seconds=0.01) < math.inf


def test_a_real_product_has_a_finite_rate() -> None:
    rate = matrix_product_rate(1, (64,), seconds=0.01)
    assert 0 < rate < math.inf


@pytest.mark.parametrize(("threads", "size"), [(0, 64), (1, 0)])
def test_nonsense_is_refused(threads: int, size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        matrix_product_rate(threads, (64, size))

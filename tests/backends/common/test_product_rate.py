from types import SimpleNamespace

import numpy as np
import pytest

from distlab.backends.common import product_rate


def test_the_best_product_after_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Products of 4, 2 and 8 s, after one that takes an hour.
    durations = iter([3600.0, 4.0, 2.0, 8.0])
    now = 0.0

    def multiply() -> None:
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(product_rate, "SIZE", 10)
    monkeypatch.setattr(product_rate, "PRODUCTS", 3)
    monkeypatch.setattr(product_rate, "time", SimpleNamespace(perf_counter=lambda: now))
    assert product_rate.best_rate(multiply) == 2 * 10**3 / 2.0
    assert next(durations, None) is None


def test_the_matrix_is_square_float32_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_rate, "SIZE", 7)
    matrix = product_rate.operand()
    assert (matrix.shape, matrix.dtype) == ((7, 7), np.float32)
    assert (matrix.min(), matrix.max()) == (-1, 1)

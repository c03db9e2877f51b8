import numpy as np
import pytest

from distlab.fairness.rounding import LossBounds, loss_bounds, loss_errors, why_not


def test_fp32_has_the_contracts_bounds_at_any_batch() -> None:
    assert loss_bounds("fp32", 8) == loss_bounds("fp32", 4096) == LossBounds(2e-6, 1e-4)


@pytest.mark.parametrize(("precision", "u"), [("bf16", 1 / 256), ("tf32", 1 / 2048)])
def test_bounds_are_the_unit_roundoff_and_fall_with_the_root_of_the_batch(
    precision: str, u: float
) -> None:
    assert loss_bounds(precision, 64) == LossBounds(u, 1.5e-2)
    assert loss_bounds(precision, 256) == LossBounds(u, 7.5e-3)
    assert loss_bounds(precision, 10**6).ten == u


def test_errors_are_relative_and_what_is_no_number_is_infinitely_far() -> None:
    found = loss_errors([2.0, 2.2, np.nan], np.array([2.0, 2.0, 2.0]))
    assert found == pytest.approx([0.0, 0.1, np.inf])


@pytest.mark.parametrize(
    ("precision", "errors", "reason"),
    [
        ("fp32", [1e-6, 9e-5], None),
        ("fp32", [3e-6, 1e-6], "the first is off"),
        ("fp32", [1e-6, 2e-4], "one is off"),
        ("fp32", [0.0, 0.0], None),
        ("bf16", [1e-3, 1e-2], None),
        ("bf16", [4e-3, 1e-3], "the first is off"),
        ("bf16", [1e-3, 2e-2], "one is off"),
        ("bf16", [np.inf, 1e-3], "the first is off"),
        ("bf16", [1e-7, 1e-7, 1e-7, 1e-3], "nothing was rounded"),
        ("bf16", [1e-7, 1e-7, 1e-5, 1e-3], None),
        ("tf32", [4e-4, 1e-2], None),
        ("tf32", [1e-3, 1e-2], "the first is off"),
        ("tf32", [1e-7], "nothing was rounded"),
    ],
)
def test_losses_are_told_from_those_of_another_precision(
    precision: str, errors: list[float], reason: str | None
) -> None:
    found = why_not(np.array(errors), precision, 64)
    assert found is None if reason is None else reason in str(found)

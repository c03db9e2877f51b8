"""The oracle's optimizers against their formulas, written out for one number."""

from dataclasses import replace

import numpy as np
import pytest

from distlab.backends.base import Program
from distlab.fairness import optimizers
from distlab.fairness.reference import Adam

GRADIENTS = [0.3, -0.02, 5.0, -0.7, 0.0]
RATES = [0.1, 0.05, 0.2, 0.0, 0.1]
PROGRAM = Program(1, learning_rate=0.1, rule="sgd", weight_decay=0.01, momentum=0.9)


def path(program: Program) -> list[float]:
    """Where a weight of 1.5 goes."""
    optimizer, weights, found = optimizers.of(program), {"w": np.array([1.5])}, []
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        weights = optimizer.step(weights, {"w": np.array([gradient])}, rate)
        found.append(float(weights["w"][0]))
    assert optimizer.t == len(GRADIENTS)
    return found


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_equation_9_with_the_rate_outside_the_velocity(
    momentum: float, nesterov: bool
) -> None:
    w, v, expected = 1.5, 0.0, []
    for g, rate in zip(GRADIENTS, RATES, strict=True):
        slope = g + 0.01 * w
        v = momentum * v + slope
        w = w - rate * (slope + momentum * v if nesterov else v)
        expected.append(w)
    program = replace(PROGRAM, momentum=momentum, nesterov=nesterov)
    assert path(program) == pytest.approx(expected, rel=1e-14)


def test_nesterov_in_these_variables_is_sutskevers_at_a_constant_rate() -> None:
    """Sutskever et al. (2013), equations 3 and 4, on a bowl whose gradient is its place."""
    rate, mu, theta, v = 0.1, 0.9, 1.5, 0.0
    ahead = []
    for _ in range(6):
        v = mu * v - rate * (theta + mu * v)
        theta += v
        ahead.append(theta + mu * v)
    one = optimizers.Sgd(rate, mu, nesterov=True)
    weights, found = {"w": np.array([1.5])}, []
    for _ in range(6):
        weights = one.step(weights, {"w": weights["w"]})
        found.append(float(weights["w"][0]))
    assert found == pytest.approx(ahead, rel=1e-12)


def test_adamw_is_adam_and_a_decay_of_the_weights_before_the_step() -> None:
    program = Program(1, learning_rate=0.1, rule="adamw", weight_decay=0.01)
    adam, w, expected = Adam(0.1), 1.5, []
    for g, rate in zip(GRADIENTS, RATES, strict=True):
        moved = adam.step({"w": np.array([w])}, {"w": np.array([g])}, rate)["w"][0]
        w = float(moved) - rate * 0.01 * w
        expected.append(w)
    assert path(program) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("program", "moments"),
    [
        (Program(1), ("first_moment", "second_moment")),
        (replace(PROGRAM, rule="adamw"), ("first_moment", "second_moment")),
        (PROGRAM, ("first_moment",)),
        (replace(PROGRAM, momentum=0.0), ()),
    ],
)
def test_there_are_moments_for_what_a_formula_keeps(
    program: Program, moments: tuple[str, ...]
) -> None:
    assert program.moments == moments
    one = optimizers.of(program)
    one.step({"w": np.ones(2)}, {"w": np.ones(2)})
    assert [bool(held) for held in (one.m, one.v)] == [
        moment in moments for moment in ("first_moment", "second_moment")
    ]

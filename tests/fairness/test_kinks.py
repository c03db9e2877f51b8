"""Runs that take one input on the other side of a kink, and runs that are wrong."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distlab.fairness import kinks, reference
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distlab.models.spec import ModelSpec

RATE = 1e-3
TOLERANCE = 2e-6
NEAR = 1e-9
"""So far from a kink is what float32 cannot tell; float64 can."""
RANDOM = np.random.default_rng(0)


@dataclass(frozen=True)
class Problem:
    """Ten steps of two samples, of which the first step alone holds sample 0."""

    spec: ModelSpec
    weights: dict[str, NDArray[np.float64]]
    images: NDArray[np.float64]
    order: NDArray[np.int64]

    @property
    def steps(self) -> tuple[Any, ...]:
        labels = np.arange(len(self.images)) % 2
        return self.spec, self.weights, self.images, labels, self.order

    def losses(self, rate: float = RATE) -> NDArray[np.float64]:
        return np.array(reference.losses(*self.steps, learning_rate=rate))

    def agreement(self, found: NDArray[np.float64]) -> kinks.Agreement | None:
        rates = np.full(len(self.order), RATE)
        return kinks.agreement(*self.steps, reference.Adam(RATE), rates, found, TOLERANCE)


ORDER = np.array([[0, 1], *([2, 3] for _ in range(9))])


def kink(side: int) -> Problem:
    """Sample 0 is black: the input of the ReLU's unit 1 is that unit's bias, next to zero."""
    layers = (Flatten(), Dense("one", 4, 3), ReLU(), Dense("two", 3, 2))
    spec = ModelSpec("kink", layers, input_shape=(1, 2, 2))
    weights = {name: RANDOM_WEIGHTS[name] for name in spec.parameters}
    weights["one.bias"] = np.array([0.5, side * NEAR, -0.5])
    # Sample 1 does not reach unit 1, so that its gradient is that of sample 0 or none.
    weights["one.weight"] = np.array([[0.3, -0.4, 0.2], *([[0.1, 0.2, 0.3]] * 3)])
    images = np.zeros((4, 1, 2, 2))
    images[1, 0, 0, 0] = 1
    images[2:, 0, 1] = IMAGES
    return Problem(spec, weights, images, ORDER)


def tie(side: int) -> Problem:
    """Sample 0 has two pixels alike in opposite corners, which two places of a window see."""
    layers = (Conv2D("conv", 1, 1, 2), ReLU(), MaxPool2D(2), Flatten(), Dense("out", 1, 2))
    spec = ModelSpec("tie", layers, input_shape=(1, 3, 3))
    weights = {"conv.weight": np.ones((1, 1, 2, 2)), "conv.bias": np.zeros(1)}
    weights |= {"out.weight": np.array([[0.7, -0.3]]), "out.bias": np.zeros(2)}
    images = RANDOM_IMAGES.copy()
    images[0] = 0
    images[0, 0, 0, 0], images[0, 0, 2, 2] = 0.8, 0.8 + side * NEAR
    images[1] = 0
    return Problem(spec, weights, images, ORDER)


RANDOM_WEIGHTS = {
    "two.weight": RANDOM.normal(size=(3, 2)),
    "two.bias": RANDOM.normal(size=2),
    "one.weight": np.zeros((4, 3)),
    "one.bias": np.zeros(3),
}
IMAGES = RANDOM.uniform(0.2, 1, size=(2, 2))
RANDOM_IMAGES = RANDOM.uniform(0.2, 1, size=(4, 1, 3, 3))


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (kink, "step 1, sample 0: input 1 of the ReLU behind one is 1.0e-09"),
        (
            tie,
            "step 1, sample 0: inputs 0, 0, 0 and 0, 1, 1 of the max-pool behind conv are 1.0e-09 "
            "apart",
        ),
    ],
)
def test_a_run_on_the_other_side_of_a_kink_is_explained_by_it(problem: Any, words: str) -> None:
    ours, found = problem(1), problem(-1).losses()
    parted = np.abs(found / ours.losses() - 1)
    assert parted[0] < 1e-8 and parted.max() > 1e-4
    explained = ours.agreement(found)
    assert explained is not None
    assert [one.words for one in explained.decided] == [words]
    np.testing.assert_allclose(explained.losses, found, rtol=1e-8)


@pytest.mark.parametrize("problem", [kink, tie])
def test_nothing_is_decided_otherwise_in_a_run_that_agrees(problem: Any) -> None:
    explained = problem(1).agreement(problem(1).losses())
    assert explained is not None and explained.decided == ()


@pytest.mark.parametrize("problem", [kink, tie])
@pytest.mark.parametrize("side", [1, -1])
def test_a_wrong_run_stays_unexplained_whichever_side_it_takes(problem: Any, side: int) -> None:
    assert problem(1).agreement(problem(side).losses(RATE * 1.01)) is None


def test_what_float32_can_tell_is_not_decided_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinks, "UNDECIDED", NEAR / 10)
    assert kink(1).agreement(kink(-1).losses()) is None


def test_equal_elements_are_left_alone() -> None:
    same = tie(0)
    explained = same.agreement(same.losses())
    assert explained is not None and explained.decided == ()
    assert same.agreement(tie(1).losses()) is None


def test_no_more_is_tried_than_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinks, "STEPS", 2)
    assert kink(1).agreement(kink(-1).losses()) is None


@pytest.mark.parametrize("times", [2, 3, 4])
def test_up_to_three_decisions_explain_a_run(times: int) -> None:
    """Sample 0 comes several times, and its unit stays as near to zero until it has learned."""
    order = np.vstack([*[ORDER[:1]] * times, ORDER[times:]])
    ours, found = replace(kink(1), order=order), replace(kink(-1), order=order).losses()
    explained = ours.agreement(found)
    if times > 3:
        assert explained is None
    else:
        assert explained is not None
        assert [one.step for one in explained.decided] == list(range(times))

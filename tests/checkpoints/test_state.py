from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from distlab.backends.base import MOMENTS, OptimizerState
from distlab.checkpoints.archive import DamagedError
from distlab.checkpoints.state import WEIGHTS, State
from distlab.experiment.experiment import Experiment
from distlab.models.grammar import build
from distlab.models.spec import ModelSpec
from distlab.models.weights import draw


class Memory:
    """As much of a backend as a state asks."""

    def __init__(self, spec: ModelSpec) -> None:
        self.held = draw(spec, 1)
        moments = [
            {name: array for name, array in draw(spec, seed).items() if name in spec.parameters}
            for seed in (2, 3)
        ]
        self.adam = OptimizerState(62, *moments)

    def weights(self) -> dict[str, np.ndarray]:
        return self.held

    def optimizer_state(self) -> OptimizerState:
        return self.adam

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
        self.held = weights

    def set_optimizer_state(self, state: OptimizerState) -> None:
        self.adam = state


@pytest.fixture(params=["mlp", "with running statistics"])
def spec(experiment: Callable[..., Experiment], request: pytest.FixtureRequest) -> ModelSpec:
    if request.param == "mlp":
        return experiment().spec
    return build(
        "small", [{"conv": {"channels": 2, "kernel": 3}}, "batch_norm", "flatten", {"dense": 10}]
    )


def test_a_backend_gets_back_the_bits_that_it_had(spec: ModelSpec) -> None:
    one, other = Memory(spec), Memory(spec)
    other.held = {}
    State.decoded(State.of(one, 2).encoded(), spec).restore(other)  # type: ignore[arg-type]
    assert other.adam.step == 62
    for found, expected in (
        (other.held, one.held),
        (other.adam.first_moment, one.adam.first_moment),
        (other.adam.second_moment, one.adam.second_moment),
    ):
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


def test_it_says_how_many_epochs_are_done(spec: ModelSpec) -> None:
    state = State.of(Memory(spec), 2)  # type: ignore[arg-type]
    assert State.decoded(state.encoded()).epoch == 2


@pytest.mark.parametrize("kind", [WEIGHTS, *MOMENTS])
@pytest.mark.parametrize("fault", ["missing", "shape", "unknown"])
def test_arrays_of_another_model_are_refused(spec: ModelSpec, kind: str, fault: str) -> None:
    state = State.of(Memory(spec), 2)  # type: ignore[arg-type]
    named = dict(state.arrays[kind])
    first = next(iter(named))
    match fault:
        case "missing":
            del named[first]
        case "shape":
            named[first] = named[first][:-1]
        case "unknown":
            named["more"] = named[first]
    with pytest.raises(DamagedError, match=first if fault != "unknown" else "more"):
        State.decoded(replace(state, arrays={**state.arrays, kind: named}).encoded(), spec)

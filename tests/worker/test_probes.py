from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from thread_backend import ThreadBackend, World

from distlab.backends.base import Backend, OptimizerState, Placement, Program
from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment
from distlab.experiment.task import Task
from distlab.fairness import optimizers
from distlab.models.shipped import MODELS
from distlab.models.weights import draw
from distlab.worker import probes

SPEC = MODELS["mlp"]
STEPS = 31

Started = tuple[ThreadBackend, Task, Placement]


@pytest.fixture
def started(
    experiment: Callable[..., Experiment], dataset: Dataset, world: Callable[[int], World]
) -> Started:
    """A backend that stands before its warm-up."""
    one = experiment("batch_size=4", "seed=3")
    world(1)
    placement = Placement(0, 1, 0, "cpu", ("nowhere:0",), 1)
    backend = ThreadBackend(placement)
    backend.build(one.spec, one.program)
    backend.load_data(*dataset.normalized())
    task = Task("threads", one.spec, one.program, 1, one.global_batch, one.run_seed)
    return backend, task, placement


def trained(started: Started) -> Started:
    """As after an epoch, with weights and a state."""
    started[0].set_weights(draw(SPEC, 3))
    started[0].set_optimizer_state(OptimizerState.zero(SPEC))
    return started


def called(name: str) -> list[Any]:
    return [detail for call, detail in World.current.calls[0] if call == name]


def test_the_warm_up_begins_with_the_seeds_weights_and_a_zero_state(started: Started) -> None:
    error, compile_s = probes.warm_up(*started, STEPS)
    assert error < 1e-3 and compile_s >= 0
    (weights,), (state,) = called("set_weights"), called("set_optimizer_state")
    for name, array in draw(SPEC, 3).items():
        np.testing.assert_array_equal(weights[name], array)
    assert state.step == 0


def test_the_exchange_is_timed_on_off_and_on_again_on_the_same_steps(started: Started) -> None:
    backend, task, placement = trained(started)
    windows = probes.exchange_windows(backend, task, placement, STEPS)
    assert [program.exchange for program in called("build")] == [True, False, True]
    assert len(windows.with_exchange) == len(windows.without) == 4
    steps = called("train")
    # Each time one step, all of them untimed, and the windows: two, four, two.
    on, off = [1, *[STEPS] * 3], [1, *[STEPS] * 5]
    assert [len(one) for one in steps] == [*on, *off, *on]
    whole = [one for one in steps if len(one) == STEPS]
    for other in whole[1:]:
        np.testing.assert_array_equal(other, whole[0])


def test_the_exchange_is_timed_over_so_many_steps_at_most(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "EXCHANGE_STEPS", 5)
    probes.exchange_windows(*trained(started), STEPS)
    assert {len(steps) for steps in called("train")} == {1, 5}


def test_averages_are_timed_by_size_with_the_gradients_among_them(started: Started) -> None:
    found = probes.all_reduces(*trained(started))
    gradient = 4 * SPEC.parameter_count
    sizes = [2**10, 2**14, 2**18, gradient, 2**20, 2**22]
    assert [one.bytes for one in found] == called("averaging") == sizes
    assert all(len(one.seconds) == 5 and min(one.seconds) > 0 for one in found)
    # One that is not timed, and five windows of twenty, of five, or of one.
    assert len(called("averaged")) == sum(1 + 5 * times for times in (20, 20, 5, 5, 5, 1))


def test_nothing_is_timed_where_a_backend_offers_no_average(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadBackend, "averaging", Backend.averaging)
    assert probes.all_reduces(*trained(started)) == ()


@pytest.mark.parametrize(("device", "windows", "calls"), [("cpu", 2, 1), ("gpu", 3, 33)])
def test_a_gpus_windows_are_more_and_longer(
    started: Started, device: str, windows: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1000 steps, which go 33 times through an epoch of 31."""
    backend, task, placement = trained(started)
    steps: list[int] = []
    monkeypatch.setattr(backend, "train", lambda rows: steps.append(len(rows)))
    placement = replace(placement, device="gpu" if device == "gpu" else "cpu")
    found = probes.exchange_windows(backend, task, placement, STEPS)
    assert len(found.with_exchange) == len(found.without) == 2 * windows
    untimed = [1, STEPS]
    one = [STEPS] * calls * windows
    assert steps == [*untimed, *one, *untimed, *one, *one, *untimed, *one]


def first_update(program: Program, epsilon_inside: bool) -> float:
    """The error that is found for a first update by Adam, with epsilon inside the root or not."""
    random = np.random.default_rng(0)
    before = draw(SPEC, 0)
    slopes = {name: random.normal(0, 1e-7, array.shape) for name, array in before.items()}
    after, moments = {}, {}
    for name, slope in slopes.items():
        size = (
            np.sqrt(slope**2 + program.epsilon)
            if epsilon_inside
            else np.abs(slope) + program.epsilon
        )
        after[name] = (before[name] - program.learning_rate * slope / size).astype(np.float32)
        moments[name] = ((1 - program.beta1) * slope).astype(np.float32)
    state = OptimizerState(1, moments, {})
    return probes._optimizer_error(program, before, after, state)


def test_adams_update_is_told_from_one_with_epsilon_elsewhere(
    experiment: Callable[..., Experiment],
) -> None:
    program = experiment().program
    # float32 weights below 1 hold an update of 1e-3 to 6e-8 / 1e-3.
    assert first_update(program, epsilon_inside=False) < 1e-3
    assert first_update(program, epsilon_inside=True) > 0.1


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        {"rule": "adamw", "weight_decay": 0.1},
        {"rule": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        {"rule": "sgd", "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    ],
    ids=["adamw", "momentum", "nesterov"],
)
def test_the_first_update_of_each_optimizer_is_told_from_another(
    given: dict[str, Any], wrong: bool
) -> None:
    program = Program(1, learning_rate=0.1, **given)
    random = np.random.default_rng(0)
    before = {"w": random.normal(0, 0.3, 50).astype(np.float32)}
    oracle = optimizers.of(replace(program, weight_decay=0.2) if wrong else program)
    slope = {"w": random.normal(0, 1, 50)}
    found = oracle.step(before, slope)
    moments = [{n: a.astype(np.float32) for n, a in held.items()} for held in (oracle.m, oracle.v)]
    if wrong and given["rule"] == "sgd":  # as if the decay had come after the velocity
        moments[0] = {"w": (slope["w"] + 0.1 * before["w"]).astype(np.float32)}
    after = {name: array.astype(np.float32) for name, array in found.items()}
    error = probes._optimizer_error(program, before, after, OptimizerState(1, *moments))
    assert error is not None and (error > 1e-2 if wrong else error < 1e-5)


def test_plain_sgd_has_nothing_to_tell_the_first_update_by() -> None:
    program, weights = Program(1, rule="sgd"), {"w": np.ones(2, np.float32)}
    state = OptimizerState(1, {}, {})
    assert probes._optimizer_error(program, weights, weights, state) is None


@pytest.mark.parametrize(("device", "name", "steps"), [
    ("cpu", "mlp", 50), ("cpu", "resnet20", 8), ("cpu", "resnet18", 7), ("gpu", "resnet20", 50),
])  # fmt: skip
def test_spans_of_large_models_have_fewer_steps(device: str, name: str, steps: int) -> None:
    spec, placement = MODELS[name], Placement(0, 1, 0, "gpu" if device == "gpu" else "cpu", (), 1)
    task = Task("threads", spec, Program(64), 1, 64, 0)
    assert len(probes._first_samples(task, placement, 50)) == steps
    # With samples for two steps there are two, however large these are.
    assert len(probes._first_samples(task, placement, 2)) == 2

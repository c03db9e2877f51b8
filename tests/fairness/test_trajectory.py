"""How many steps the reference takes, and what it allows where float32 itself is the measure."""

from collections.abc import Callable

import numpy as np
import pytest
from thread_backend import train

from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment
from distlab.fairness import trajectory
from distlab.fairness.rounding import FP32_FIRST
from distlab.models import shipped
from distlab.outcome.record import Record

GELU = "model.layers=[flatten,{dense:12},gelu,{dense:classes}]"


def record(one: Experiment, dataset: Dataset, **changed: float) -> Record:
    """A run by threads, in which some losses are changed: ``step3=1e-3`` by that, relatively."""
    events = train(one, dataset)
    factors = {int(name.removeprefix("step")) - 1: 1 + by for name, by in changed.items()}
    found = Record(one, dataset, 0.0)
    for event in events:
        if getattr(event, "losses", None) is not None and event.epoch == 0:
            for step, factor in factors.items():
                event.losses[step] *= factor
        found.add(event)
    return found


@pytest.mark.parametrize(
    ("name", "shape", "batch", "steps"),
    [
        ("mlp", (1, 28, 28), 8192, 10),
        ("lenet5", (1, 28, 28), 2048, 10),
        ("resnet20", (1, 28, 28), 64, 5),
        ("resnet18", (3, 224, 224), 32, 2),
    ],
)
def test_steps_are_counted_by_operations(
    name: str, shape: tuple[int, ...], batch: int, steps: int
) -> None:
    assert trajectory.affordable(shipped.model(name, shape), batch) == steps


def test_what_the_reference_cannot_do_is_told(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    thread_framework: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trajectory, "AFFORDABLE_FLOPS", 0.0)
    monkeypatch.setattr(trajectory, "_LOSSES", {})
    one = experiment("batch_size=20", "epochs=1", "seed=3")
    check = trajectory.trajectory(record(one, dataset))
    assert check.passed
    assert "in 2 steps (of 6: what the reference can do in half a minute)" in check.detail
    assert trajectory.trajectory(record(one, dataset, step3=1.0)).passed
    assert not trajectory.trajectory(record(one, dataset, step2=1e-3)).passed


def test_float32s_own_error_is_the_measure_of_other_networks(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    thread_framework: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trajectory, "_LOSSES", {})
    one = experiment("batch_size=20", "epochs=1", "seed=3", GELU, "model.name=gelu")
    right = record(one, dataset)
    assert trajectory.trajectory(right).passed
    allowed = trajectory.reference_losses(right).allowed
    assert allowed is not None
    assert allowed[0] == FP32_FIRST
    np.testing.assert_array_equal(allowed[1:], trajectory.ALLOWED_AT_LEAST)
    for changed in ({"step1": 1e-5}, {"step2": 1e-3}, {"step6": -1e-3}, {"step4": np.nan}):
        check = trajectory.trajectory(record(one, dataset, **changed))
        assert not check.passed
        assert f"that of step {next(iter(changed))[4:]} is off" in check.detail


def test_the_first_loss_may_be_off_by_more_where_batches_are_normalized() -> None:
    deep = shipped.model("resnet20")
    # Seven layers on 28 x 28, six behind a stride of 2 each on 14 x 14 and 7 x 7.
    added = 64 * (7 * 28**2 + 6 * 14**2 + 6 * 7**2)
    assert trajectory.first_bound(deep, 64) == pytest.approx(added**0.5 / 2**24)
    assert trajectory.first_bound(deep, 8) < trajectory.first_bound(deep, 64)
    assert trajectory.first_bound(shipped.model("vit"), 64) == FP32_FIRST
    assert trajectory.first_bound(shipped.model("mlp"), 64) == FP32_FIRST

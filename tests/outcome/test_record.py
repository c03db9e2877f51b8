from collections.abc import Callable

import numpy as np
import pytest
from told import STEPS, begun, part, trained, window

from distlab.backends.base import Evaluation
from distlab.data.dataset import Dataset
from distlab.data.order import digest, epoch_order
from distlab.experiment.experiment import Experiment
from distlab.measure.clock import Window
from distlab.outcome.events import Begun, EpochDone, Started
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised


def test_an_epoch_is_complete_with_its_last_rank(record: Record) -> None:
    assert record.add(part(1, 0, 2.0, 1.0, 3)) is None
    epoch = record.add(part(0, 0, 4.0, 2.0, 5))
    assert epoch is not None and epoch.index == 0
    assert epoch.seconds == 4.0
    assert epoch.throughput == 124 / 4.0
    np.testing.assert_array_equal(epoch.losses, np.full(STEPS, 1.5))
    assert epoch.train_loss == 1.5
    assert epoch.evaluated == 23
    assert epoch.test_accuracy == 8 / 23
    assert epoch.test_loss == 2.0
    assert epoch.step_time_ms["mean"] == pytest.approx(4000 / STEPS)
    assert epoch.step_time_ms["p50"] is None  # of four spans


def test_ranks_may_run_ahead_of_each_other(record: Record) -> None:
    assert record.add(part(0, 0, 1.0, 1.0, 1)) is None
    assert record.add(part(0, 1, 1.0, 1.0, 1)) is None
    first = record.add(part(1, 0, 1.0, 1.0, 1))
    second = record.add(part(1, 1, 1.0, 1.0, 1))
    assert first is not None and second is not None
    assert [first.index, second.index] == [0, 1] == [epoch.index for epoch in record.epochs]
    assert record.samples_sha256 == digest([epoch_order(0, e, 124, 4) for e in (0, 1)])


def test_the_order_in_which_ranks_report_does_not_matter(record: Record) -> None:
    for rank in (1, 0):
        record.add(part(rank, 0, 1.0, 1.0, 1))
    assert record.samples_sha256 == digest([epoch_order(0, 0, 124, 4)])


def test_first_losses_cross_epochs(experiment: Callable[..., Experiment], dataset: Dataset) -> None:
    one = experiment("batch_size=31", "epochs=3")
    record = Record(one, dataset, 0.0)
    for epoch in range(3):
        losses = np.arange(4 * epoch, 4 * epoch + 4, dtype=np.float32)
        order = epoch_order(0, epoch, 124, 31)
        one_span = Window(1.0, ((4, 1.0),))
        record.add(EpochDone(0, epoch, one_span, losses, order, Evaluation(23, 1, 1.0)))
    assert record.first_losses == [float(n) for n in range(10)]


def test_the_loss_curve_is_means_at_the_last_steps_of_their_parts(
    experiment: Callable[..., Experiment], dataset: Dataset
) -> None:
    record = Record(experiment("batch_size=4", "epochs=10"), dataset, 0.0)
    assert record.loss_curve == {"step": [], "loss": []}
    losses = np.arange(10 * STEPS, dtype=np.float32)
    for epoch in range(10):
        mine = losses[epoch * STEPS : (epoch + 1) * STEPS]
        order = epoch_order(0, epoch, 124, 4)
        record.add(EpochDone(0, epoch, window(1.0), mine, order, Evaluation(23, 1, 1.0)))
    curve = record.loss_curve
    assert len(curve["step"]) == len(curve["loss"]) == 100
    assert curve["step"][-1] == 310
    # The first ten of 100 parts of 310 steps have 4 steps each.
    assert (curve["step"][0], curve["loss"][0]) == (4, 1.5)
    for begin, end, loss in zip([0, *curve["step"]], curve["step"], curve["loss"], strict=False):
        assert loss == pytest.approx(losses[begin:end].mean())


def test_a_short_loss_curve_is_the_losses(record: Record) -> None:
    for rank in range(2):
        record.add(part(rank, 0, 1.0, 2.0 + rank, 1))
    assert record.loss_curve == {"step": list(range(1, STEPS + 1)), "loss": [2.5] * STEPS}


def test_after_a_failure_epochs_are_replaced_by_number_and_nothing_is_counted_twice(
    record: Record,
) -> None:
    begun(record)
    trained(record, 0, 1.0)
    trained(record, 1, 50.0)
    record.add(part(0, 2, 70.0, 1.0, 1))  # the other rank died in it
    # The state after the second epoch was lost, so that it is trained again.
    begun(record, 1, "worker 1 on here died", host="there")
    trained(record, 1, 2.0)
    summary = summarised(record)
    assert summary["epoch_time_s"] == [1.0, 2.0]
    assert summary["throughput_samples_per_s"] == pytest.approx(248 / 3)
    assert summary["samples_sha256"] == digest([epoch_order(0, e, 124, 4) for e in (0, 1)])
    assert summary["restarts"] == 1
    assert summary["stretches"] == [
        {"group": "g0", "world_size": 2, "hosts": ["here"], "first_epoch": 1, "epochs": 1},
        {"group": "g1", "world_size": 2, "hosts": ["there"], "first_epoch": 2, "epochs": 1},
    ]
    assert [one["code"] for one in summary["caveats"]] == ["restarted"]
    assert summary["group"] == "g1"


def test_a_run_without_a_failure_is_one_stretch_and_has_no_caveat(record: Record) -> None:
    begun(record)
    trained(record, 0, 1.0)
    trained(record, 1, 1.0)
    summary = summarised(record)
    assert (summary["restarts"], summary["recovery_s"], summary["caveats"]) == (0, 0.0, [])
    assert [one["epochs"] for one in summary["stretches"]] == [2]


def test_recovery_is_in_the_wall_time_and_in_no_start_up(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [10.0]
    monkeypatch.setattr("distlab.outcome.record.time.time", lambda: clock[0])
    begun(record)
    assert record.startup_s == 10.0
    trained(record, 0, 1.0)
    clock[0] = 27.5
    begun(record, 1, "worker 0 on here died", failed=20.0)
    clock[0] = 40.0
    trained(record, 1, 1.0)
    summary = summarised(record)
    assert (summary["startup_s"], summary["recovery_s"], summary["wall_s"]) == (10.0, 7.5, 40.0)


def test_workers_that_died_before_their_first_epoch_are_no_stretch_of_the_record(
    record: Record,
) -> None:
    record.add(Begun("g", 0, 2))
    record.add(Started(0, "here", 1))
    begun(record, 0, "worker 1 on here died")
    trained(record, 0, 1.0)
    trained(record, 1, 1.0)
    assert [one["epochs"] for one in summarised(record)["stretches"]] == [2]
    assert record.restarts == 1

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from thread_backend import ThreadBackend, World, train

from distlab.backends.base import Backend, Evaluation
from distlab.checkpoints.state import State
from distlab.data.dataset import Dataset
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.fairness import checks, stopping
from distlab.outcome.events import Begun, Checkpoint, EpochDone, Event, Finished
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised

pytestmark = pytest.mark.slow

STRONG = ("scaling=strong", "batch_size=4", "seed=3", "measure_exchange=false")
STEPS = 31

Trained = Callable[..., tuple[Record, list[Event]]]


@pytest.fixture
def run(
    experiment: Callable[..., Experiment], dataset: Dataset, world: Callable[[int], World]
) -> Trained:
    def trained(*overrides: str, **more: Any) -> tuple[Record, list[Event]]:
        one = experiment(*STRONG, *overrides)
        events = train(one, dataset, **more)
        record = Record(one, dataset, 0.0)
        for event in [Begun("one", 0, one.world_size), *events]:
            record.add(event)
        return record, events

    return trained


def done(events: list[Event], rank: int = 0) -> list[EpochDone]:
    return [e for e in events if isinstance(e, EpochDone) and e.rank == rank]


def ends(events: list[Event]) -> set[str]:
    return {e.weights_sha256 for e in events if isinstance(e, Finished)}


def marks(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Have all samples be classified rightly from so many evaluations on, by rank."""
    counts: dict[int, int] = {}

    def evaluate(self: ThreadBackend, start: int, stop: int) -> Evaluation:
        counts[self._rank] = counts.get(self._rank, 0) + 1
        # Rank 1 alone is right: rank 0 by itself would never stop.
        right = stop - start if counts[self._rank] >= after and self._rank else 0
        return Evaluation(stop - start, right, 1.0)

    monkeypatch.setattr(ThreadBackend, "evaluate", evaluate)


@pytest.mark.parametrize("size", [1, 2])
def test_evaluations_inside_an_epoch_lie_between_windows_and_change_no_bit(
    run: Trained, size: int
) -> None:
    _, whole = run("epochs=2", f"gpus={size}")
    record, events = run("epochs=2", f"gpus={size}", "evaluate.every=12")
    names = [name for name, _ in World.current.calls[0] if name != "weights"]
    part = ["barrier", "train", "barrier", "evaluate"]
    assert names[names.index("describe") + 1 : -1] == 6 * part
    assert ends(events) == ends(whole)
    for found, expected in zip(done(events), done(whole), strict=True):
        np.testing.assert_array_equal(found.losses, expected.losses)
        assert found.evaluation == expected.evaluation
        assert [one.step for one in found.inner] == [12, 24] and not expected.inner
        seconds = [*(one.seconds for one in found.inner), found.window.seconds]
        assert 0 < seconds[0] < seconds[1] < seconds[2]
        assert [steps for steps, _ in found.window.spans] == [12, 12, 7]
        assert found.cpu is not None and found.device is not None and found.device.windows == 3
    assert {name: check for name, check in checks.run_all(record).items() if not check.passed} == {}
    summary = summarised(record)
    assert [one["step"] for one in summary["evaluations"]] == [12, 24, 31, 43, 55, 62]
    assert summary["evaluations"][-1]["seconds"] == pytest.approx(sum(summary["epoch_time_s"]))


@pytest.mark.parametrize("every", [(), ("evaluate.every=7",)])
def test_a_run_of_so_many_steps_is_the_beginning_of_a_longer_one(
    run: Trained, every: tuple[str, ...]
) -> None:
    _, whole = run("epochs=2", "gpus=2")
    record, events = run("epochs=9", "gpus=2", "stop.steps=40", *every)
    first, last = done(events)
    assert (len(first.losses), len(last.losses)) == (STEPS, 9)
    assert (first.stopped, last.stopped) == (None, "steps")
    np.testing.assert_array_equal(last.losses, done(whole)[1].losses[:9])
    assert all(check.passed for check in checks.run_all(record).values())
    summary = summarised(record)
    assert (summary["steps"], summary["stopped"], summary["epochs"]) == (40, "steps", 9)
    taken = 40 * summary["global_batch_size"] / sum(summary["epoch_time_s"])
    assert summary["throughput_samples_per_s"] == pytest.approx(taken)
    assert summary["sizes"][0]["throughput_samples_per_s"] == pytest.approx(taken)
    assert summary["step_time_ms"]["mean"] == pytest.approx(1e3 * sum(summary["epoch_time_s"]) / 40)


def test_all_ranks_stop_where_their_accuracy_together_reaches_the_target(
    run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks(monkeypatch, after=6)
    # Of 23 test samples rank 1 has 12.
    options = "epochs=9", "gpus=2", "evaluate.every=10", "stop.at_target=true"
    record, events = run(*options, f"target_accuracy={12 / 23}", checkpoint_every=1)
    for rank in range(2):
        assert [len(one.losses) for one in done(events, rank)] == [STEPS, 20]
        assert done(events, rank)[-1].stopped == "at_target"
    # Four evaluations in the first epoch; no state of the epoch in which it ended.
    assert [event.epoch for event in events if isinstance(event, Checkpoint)] == [1]
    assert len(ends(events)) == 1 and stopping.fault(record) is None
    assert checks.samples(record).passed and checks.clock(record).passed
    summary = summarised(record)
    times = [one["seconds"] for one in summary["evaluations"]]
    assert summary["time_to_accuracy_s"] == pytest.approx(times[5])
    assert summary["time_to_accuracy_resolution_s"] == pytest.approx(times[5] - times[4])


def test_the_seconds_that_end_a_run_are_those_of_rank_0_before_a_state_too(
    run: Trained, experiment: Callable[..., Experiment]
) -> None:
    options = "epochs=2", "gpus=2", "stop.seconds=1000"
    record, events = run(*options, checkpoint_every=1)
    assert record.stopped is None and len(done(events)) == 2
    given = next(event for event in events if isinstance(event, Checkpoint))
    assert given.state is not None
    state = State.decoded(given.state)
    assert state.seconds == done(events)[0].window.seconds
    before = State(state.epoch, state.step, state.arrays, seconds=1000.0)
    _, again = run("epochs=3", *options[1:], state=before)
    assert [len(one.losses) for one in done(again)] == [STEPS]
    assert {one.stopped for rank in range(2) for one in done(again, rank)} == {"seconds"}
    record, events = run("epochs=9", "gpus=2", "evaluate.every=5", "stop.seconds=1e-9")
    assert [len(one.losses) for one in done(events, 1)] == [5]
    assert all(check.passed for check in checks.run_all(record).values())


def test_a_target_that_is_reached_by_the_last_step_has_stopped_nothing(
    run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, events = run("epochs=1", "stop.at_target=true", "target_accuracy=0")
    assert record.stopped is None and stopping.fault(record) is None
    _, events = run("epochs=2", "stop.at_target=true", "target_accuracy=0", checkpoint_every=1)
    assert [one.stopped for one in done(events)] == ["at_target"]
    assert not any(isinstance(event, Checkpoint) for event in events)


def test_a_backend_without_averages_stops_alone_and_is_refused_among_several(
    run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadBackend, "averaging", Backend.averaging)
    options = "epochs=2", "stop.at_target=true", "target_accuracy=0"
    _, events = run(*options)
    assert [one.stopped for one in done(events)] == ["at_target"]
    _, events = run("epochs=2", "gpus=2", "stop.steps=3")
    assert [one.stopped for one in done(events)] == ["steps"]
    with pytest.raises(DistlabError, match=r"no Backend.averaging") as refused:
        run(*options, "gpus=2")
    assert "stop.at_target=false" in refused.value.fix

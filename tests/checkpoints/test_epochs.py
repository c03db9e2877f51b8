from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import pytest
from thread_backend import World, train

from distlab.checkpoints import epochs
from distlab.checkpoints.archive import DamagedError
from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment
from distlab.fairness import checks
from distlab.outcome.events import Begun, EpochDone, Event, Finished, Started
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised

pytestmark = pytest.mark.slow


@pytest.fixture
def one(experiment: Callable[..., Experiment], world: Callable[[int], World]) -> Experiment:
    return experiment("scaling=strong", "batch_size=4", "epochs=3", "gpus=2", "evaluate.every=9")


@pytest.fixture
def events(one: Experiment, dataset: Dataset) -> list[Event]:
    begun: list[Event] = [Begun("g", 2, 2), *(Started(rank, "here", 7) for rank in (0, 1))]
    return [*begun, *train(one, dataset)]


def files(record: Record, events: list[Event]) -> Iterator[bytes]:
    """The files of a run, written as its events come."""
    for event in events:
        if (epoch := record.add(event)) is not None:
            yield epochs.encoded(record, epoch.index)


def test_a_record_that_is_restored_says_what_the_one_before_said(
    one: Experiment, dataset: Dataset, events: list[Event]
) -> None:
    first, second = Record(one, dataset, 0.0), Record(one, dataset, 0.0)
    kept = list(files(first, events))
    epochs.restore(second, kept[:2])
    assert len(second.epochs) == 2 and second.startup_s == first.startup_s
    for before, after in zip(first.epochs[:2], second.epochs, strict=True):
        np.testing.assert_array_equal(before.losses, after.losses)
    # New workers train the last epoch.
    second.add(Begun("h", 0, 2, 2, "KILLED"))
    for event in events:
        last = isinstance(event, EpochDone) and event.epoch == 2
        if last or not isinstance(event, Begun | EpochDone):
            second.add(event)
    told, expected = summarised(second), summarised(first)
    different = {name for name in expected if told[name] != expected[name]}
    assert different <= {
        *("group", "group_run", "restarts", "recovery_s", "stretches", "wall_s"),
        *("caveats", "load"),  # of each group by itself
    }
    assert [one["epochs"] for one in told["stretches"]] == [2, 1]
    assert told["wall_s"] > second.earlier_s > 0
    for name, check in checks.run_all(first).items():
        assert asdict(checks.run_all(second)[name])["passed"] == check.passed, name


def test_what_a_rank_said_before_the_failure_is_checked_too(
    one: Experiment, dataset: Dataset, events: list[Event]
) -> None:
    record = Record(one, dataset, 0.0)
    epochs.restore(record, list(files(Record(one, dataset, 0.0), events))[:2])
    assert checks.weights(record).passed
    ready = record.stretches[0].ready[1]
    record.stretches[0].ready[1] = type(ready)(**{**vars(ready), "weights_sha256": "0" * 64})
    record.add(Begun("h", 0, 2, 2, "KILLED"))
    for event in events:
        if not isinstance(event, Begun | EpochDone | Finished):
            record.add(event)
    assert not checks.weights(record).passed


@pytest.mark.parametrize("fault", ["order", "missing", "cut", "rank"])
def test_epochs_that_are_not_whole_are_refused_and_nothing_is_taken(
    one: Experiment, dataset: Dataset, events: list[Event], fault: str
) -> None:
    kept = list(files(Record(one, dataset, 0.0), events))
    spoiled = {
        "order": [kept[1], kept[0]],
        "missing": [kept[0], kept[2]],
        "cut": [kept[0], kept[1][:-9]],
        "rank": [kept[0], _without_a_rank(kept[1])],
    }[fault]
    record = Record(one, dataset, 0.0)
    with pytest.raises(DamagedError):
        epochs.restore(record, spoiled)
    assert not record.epochs


def _without_a_rank(data: bytes) -> bytes:
    about, arrays = epochs.unpacked(data)
    del about["ranks"]["1"]
    return epochs.packed(about, arrays)

"""What a run does when workers fail, with groups that do as they are told; the real ones are in
``test_group.py``."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distlab.backends.base import Evaluation
from distlab.cluster import connect
from distlab.cluster.restarts import in_step, lasting
from distlab.data.dataset import Dataset
from distlab.errors import DistlabError, RayLostError, WorkerError
from distlab.experiment.experiment import Experiment
from distlab.measure.clock import Window
from distlab.outcome.events import Begun, Checkpoint, EpochDone, Event, Notice

EPOCHS = 3
NO_ARRAY = np.empty(0, np.int32)


def done(rank: int, epoch: int) -> EpochDone:
    window = Window(1.0, ((1, 1.0),))
    losses = np.empty(0, np.float32)
    return EpochDone(rank, epoch, window, losses, NO_ARRAY, Evaluation(0, 0, 0.0))


def whole_run(start: int = 0) -> Iterator[Event]:
    for epoch in range(start, EPOCHS):
        yield done(0, epoch)
        yield Checkpoint(0, epoch + 1, b"%d" % (epoch + 1))
        yield done(1, epoch)


class Groups:
    """Groups of two workers, each with what is raised after so many of its events."""

    def __init__(self, *ends: tuple[int, Exception]) -> None:
        self._ends = list(ends)
        self.states: list[bytes | None] = []
        self.dropped = 0
        self.world_size, self.runs, self.id = 2, 0, ""

    def workers(self, experiment: Experiment, dataset: Dataset) -> Any:
        self.id = f"g{len(self.states)}"
        return self

    def drop(self, group: Any) -> None:
        self.dropped += 1

    def run(self, task: Any, log_dir: Path, state: bytes | None) -> Iterator[Event]:
        self.states.append(state)
        count, error = self._ends.pop(0) if self._ends else (10**9, None)
        for number, event in enumerate(whole_run(int(state or 0))):
            if number == count and error is not None:
                raise error
            yield event


@pytest.fixture
def last(
    experiment: Callable[..., Experiment], dataset: Dataset
) -> Callable[..., tuple[list[Event], Groups]]:
    def lasted(
        *ends: tuple[int, Exception], most: int = 3, **more: Any
    ) -> tuple[list[Event], Groups]:
        groups = Groups(*ends)
        one: Any = groups
        task: Any = None
        events = lasting(one, experiment("gpus=2"), dataset, task, Path("logs"), most, **more)
        seen: list[Event] = []
        try:
            seen.extend(events)
        except Exception as error:
            error.add_note(str(len(seen)))
            raise
        return seen, groups

    return lasted


def died(rank: int = 1) -> WorkerError:
    return WorkerError(f"worker {rank} on here died", "log")


def epochs(events: list[Event]) -> list[int]:
    return [event.epoch for event in events if isinstance(event, EpochDone)]


def test_a_run_without_a_failure_begins_once(last: Any) -> None:
    events, groups = last()
    assert events[0] == Begun("g0", 0, 2)
    assert [type(event) for event in events].count(Begun) == 1
    assert groups.states == [None] and groups.dropped == 0


def test_a_state_is_given_when_all_ranks_have_told_the_epoch_before_it() -> None:
    given = list(in_step(whole_run(), 2))
    kinds = [type(event).__name__ for event in given]
    assert kinds == ["EpochDone", "EpochDone", "Checkpoint"] * EPOCHS
    # A rank that is ahead of the other by an epoch.
    ahead = [done(0, 0), Checkpoint(0, 1, b""), done(0, 1), Checkpoint(0, 2, b""), done(1, 0)]
    (state,) = (event for event in in_step(ahead, 2) if isinstance(event, Checkpoint))
    assert state.epoch == 1


@pytest.mark.parametrize(
    ("count", "state"),
    # In the first epoch; when rank 0 has told it; when both have, and the second has begun.
    [(0, None), (2, None), (4, b"1"), (8, b"2")],
)
def test_others_go_on_from_the_newest_state_that_all_ranks_came_to(
    last: Any, count: int, state: bytes | None
) -> None:
    events, groups = last((count, died()))
    assert groups.states == [None, state] and groups.dropped == 1
    second = [event for event in events if isinstance(event, Begun)][1]
    assert (second.group, second.epoch) == ("g1", int(state or 0))
    assert second.failure == "worker 1 on here died" and second.failed is not None
    (told,) = (event.text for event in events if isinstance(event, Notice))
    assert told == (
        f"worker 1 on here died; other workers go on from epoch {int(state or 0) + 1} "
        "(restart 1 of at most 3)"
    )
    after = events[events.index(second) :]
    assert epochs(after) == sorted([*range(second.epoch, EPOCHS)] * 2)


def test_one_failure_too_many_ends_the_run(last: Any) -> None:
    with pytest.raises(WorkerError, match="worker 2 on here died"):
        last((0, died(0)), (0, died(1)), (0, died(2)), most=2)


def test_without_any_allowed_the_first_failure_ends_the_run(last: Any) -> None:
    with pytest.raises(WorkerError, match="worker 1"):
        last((4, died()), most=0)


def raised(number: int) -> WorkerError:
    return WorkerError(f"worker 0 on here failed: KeyError: {number}", "log", raised=True)


def test_what_a_worker_raises_again_before_an_epoch_is_done_is_not_tried_a_third_time(
    last: Any,
) -> None:
    with pytest.raises(WorkerError, match="KeyError: 8"):
        last((1, raised(7)), (1, raised(8)), (1, raised(9)))
    events, _ = last((4, raised(7)), (4, raised(7)))  # an epoch was done between
    assert max(epochs(events)) == EPOCHS - 1


def test_a_users_mistake_is_tried_once_and_its_workers_given_up(last: Any) -> None:
    with pytest.raises(DistlabError):
        last((0, DistlabError("this", "that", "so")))


def test_workers_of_a_run_that_nobody_reads_any_more_are_given_up(
    experiment: Callable[..., Experiment], dataset: Dataset
) -> None:
    groups: Any = Groups()
    task: Any = None
    events = lasting(groups, experiment("gpus=2"), dataset, task, Path("logs"), 3)
    next(events)
    events.close()
    assert groups.dropped == 1


def test_it_begins_where_an_earlier_command_ended(last: Any) -> None:
    events, groups = last(start=Checkpoint(0, 2, b"2"), failure="KILLED")
    assert groups.states == [b"2"]
    assert isinstance(events[0], Begun)
    assert (events[0].epoch, events[0].failure) == (2, "KILLED")
    assert epochs(events) == [2, 2]


def test_a_run_goes_on_with_another_ray_of_its_own(
    last: Callable[..., tuple[list[Event], Groups]], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(connect, "connect", started.append)
    events, groups = last((4, RayLostError("Ray is lost", "logs")))
    assert epochs(events) == [0, 0, 1, 1, 1, 2, 2] and groups.states == [None, b"1"]
    assert len(started) == 1


def test_a_ray_that_was_joined_and_is_lost_ends_the_run(
    experiment: Callable[..., Experiment], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "connect", lambda _: pytest.fail("none of ours"))
    one, task = Groups((4, RayLostError("Ray is lost", "logs"))), None
    joined = experiment("gpus=2", "cluster=existing")
    with pytest.raises(RayLostError):
        list(lasting(one, joined, dataset, task, Path("logs"), 3))  # type: ignore[arg-type]

"""What a run by Ray Train does when Ray itself is lost, with runs that do as they are told."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distlab.cluster import connect
from distlab.cluster.restarts import Life
from distlab.cluster.train import run as train
from distlab.data.sources import Dataset
from distlab.errors import RayLostError
from distlab.experiment.experiment import Experiment
from distlab.outcome.events import Checkpoint, Event, Notice


class Runs:
    """Runs of which the first ``lost`` lose Ray after a state; it notes what is done with them."""

    def __init__(self, lost: int) -> None:
        self._lost = lost
        self.done: list[str] = []

    def __call__(self, experiment: Any, data: Any, task: Any, log_dir: Any, life: Life) -> Any:
        self.done.append(f"from {life.epoch}")
        self._life = life
        return self

    def events(self) -> Iterator[Event]:
        state = Checkpoint(0, self._life.epoch + 1, b"")
        self._life.note(state)
        yield state
        if self._lost:
            self._lost -= 1
            raise RayLostError("Ray is lost", "logs")

    def close(self) -> None:
        self.done.append("closed")

    def renew(self) -> None:
        self.done.append("renewed")

    def data(self, dataset: Dataset) -> None:
        self.done.append("data")

    def connect(self, options: Any) -> None:
        self.done.append("connected")


@pytest.fixture
def last(
    experiment: Callable[..., Experiment], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[Event], list[str]]]:
    def lasted(lost: int, most: int, *words: str) -> tuple[list[Event], list[str]]:
        runs: Any = Runs(lost)
        monkeypatch.setattr(train, "_Run", runs)
        monkeypatch.setattr(connect, "connect", runs.connect)
        task: Any = None
        one = experiment("gpus=2", *words)
        return list(train.lasting(runs, one, dataset, task, Path("logs"), most)), runs.done

    return lasted


def test_a_run_goes_on_with_another_ray_of_its_own_from_the_last_state(last: Any) -> None:
    events, done = last(1, 3)
    assert done == ["renewed", "data", "from 0", "closed", "connected", "data", "from 1", "closed"]
    (told,) = (event.text for event in events if isinstance(event, Notice))
    assert told == "Ray is lost; other workers go on from epoch 2 (restart 1 of at most 3)"


def test_one_loss_too_many_ends_the_run(last: Any) -> None:
    with pytest.raises(RayLostError):
        last(2, 1)


def test_a_ray_that_was_joined_and_is_lost_ends_the_run(last: Any) -> None:
    with pytest.raises(RayLostError):
        last(1, 3, "cluster=existing")

"""A run that outlives its workers: after a failure others go on from the newest state.

:func:`lasting` is the engine of own actors. It gives the same events as any other engine: a
:class:`~distlab.outcome.events.Begun` before each group's own, and each state only when all ranks
have told the epoch that it comes after, so that record and state are of the same moment.
"""

import re
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from distlab.cluster import connect
from distlab.cluster.pool import Jobs
from distlab.data.dataset import Dataset
from distlab.errors import RayLostError, WorkerError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode
from distlab.experiment.task import Task
from distlab.outcome.events import Begun, Checkpoint, EpochDone, Event, Notice


class Life:
    """How a run stands that outlives its workers, with any engine.

    Parameters
    ----------
    most:
        How many failures it survives. What a worker raised itself is not tried a third time if the
        same came again before an epoch was done.
    start:
        What to go on from; None to begin anew.
    failure:
        Why it goes on from there, in a line.

    Attributes
    ----------
    newest:
        The last state that all ranks have told the epoch of.
    restarts:
        How many failures there were.
    """

    def __init__(
        self, most: int, start: Checkpoint | None = None, failure: str | None = None
    ) -> None:
        self.newest, self.restarts = start, 0
        self._most, self._failure = most, failure
        self._failed = time.time() if failure else None
        self._raised = ""

    @property
    def epoch(self) -> int:
        """The epoch that is next, from 0."""
        return self.newest.epoch if self.newest else 0

    @property
    def left(self) -> int:
        """How many more failures it would survive."""
        return self._most - self.restarts

    def begun(self, group: str, group_run: int, world_size: int) -> Begun:
        """What is told of a group of workers before its own events."""
        return Begun(group, group_run, world_size, self.epoch, self._failure, self._failed)

    def note(self, event: Event) -> None:
        """Take notice of a state."""
        if isinstance(event, Checkpoint):
            self.newest, self._raised = event, ""

    def moved(self, why: str | None = None) -> None:
        """Other workers take the place of these: because of a failure, or of room for more."""
        self._failure, self._failed = why, time.time()

    def survived(self, error: WorkerError) -> Notice:
        """What is told of a failure.

        Raises
        ------
        WorkerError
            This one, if it is one too many.
        """
        self.moved(str(error))
        again = re.sub(r"\d+", "N", str(error)) if error.raised else ""
        if not self.left or (again and again == self._raised):
            raise error
        self._raised = again
        self.restarts += 1
        return Notice(
            f"{error}; other workers go on from epoch {self.epoch + 1} "
            f"(restart {self.restarts} of at most {self._most})"
        )


def lasting(
    jobs: Jobs,
    experiment: Experiment,
    dataset: Dataset,
    task: Task,
    log_dir: Path,
    most: int,
    start: Checkpoint | None = None,
    failure: str | None = None,
) -> Generator[Event, None, None]:
    """Run a task on workers, and after a failure on others, from the newest state.

    Workers that failed, and those of a run that ends otherwise than in order, are given up.

    Parameters
    ----------
    jobs:
        What has workers.
    experiment, dataset:
        What they are for.
    task:
        What they are told.
    log_dir:
        Where they write what they print.
    most:
        How many failures the run survives.
    start, failure:
        What to go on from and why, as in :class:`Life`.

    Raises
    ------
    DistlabError
        As :meth:`WorkerGroup.run`.
    WorkerError
        The failure that was one too many, or the loss of a Ray that this process only joined.
    """
    ours = experiment.options.cluster.mode is ClusterMode.local
    life = Life(most, start, failure)
    while True:
        group = None
        try:
            group = jobs.workers(experiment, dataset)
            yield life.begun(group.id, group.runs, group.world_size)
            state = life.newest.state if life.newest else None
            for event in in_step(group.run(task, log_dir, state), group.world_size):
                life.note(event)
                yield event
            return
        except WorkerError as error:
            if group is not None:
                jobs.drop(group)
            lost = isinstance(error, RayLostError)
            if lost and not ours:
                raise
            yield life.survived(error)
            if lost:
                connect.connect(experiment.options)
        except BaseException:
            if group is not None:
                jobs.drop(group)
            raise


def in_step(events: Iterable[Event], world_size: int) -> Iterator[Event]:
    """The events of ranks, with each state held back until all have told the epoch before it."""
    told: dict[int, int] = {}
    held: dict[int, Checkpoint] = {}
    for event in events:
        if isinstance(event, Checkpoint):
            held[event.epoch] = event
        else:
            if isinstance(event, EpochDone):
                told[event.epoch + 1] = told.get(event.epoch + 1, 0) + 1
            yield event
        for epoch in [epoch for epoch in held if told.get(epoch) == world_size]:
            yield held.pop(epoch)

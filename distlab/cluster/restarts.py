"""A run that outlives its workers: after a failure others go on from the newest state.

The engine of own actors. It gives the same events as any other engine: a
:class:`~distlab.outcome.events.Begun` before each group's own, and each state only when all ranks
have told the epoch that it comes after, so that record and state are of the same moment.
"""

import re
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from distlab.cluster.group import WorkerGroup
from distlab.cluster.pool import Jobs
from distlab.data.sources import Dataset
from distlab.errors import WorkerError
from distlab.experiment.experiment import Experiment
from distlab.experiment.task import Task
from distlab.outcome.events import Begun, Checkpoint, EpochDone, Event, Notice


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
        How many failures the run survives. What a worker raised itself is not tried a third time
        if the same came again before an epoch was done.
    start:
        What to go on from; None to begin anew.
    failure:
        Why it goes on from there, in a line.

    Raises
    ------
    DistlabError
        As :meth:`WorkerGroup.run`.
    WorkerError
        The failure that was one too many.
    """
    newest, failed, raised = start, time.time() if failure else None, ""
    for restart in range(most + 1):
        group = jobs.workers(experiment, dataset)
        try:
            epoch = newest.epoch if newest else 0
            yield Begun(group.id, group.runs, group.world_size, epoch, failure, failed)
            for event in in_step(_run(group, task, log_dir, newest), group.world_size):
                if isinstance(event, Checkpoint):
                    newest, raised = event, ""
                yield event
            return
        except WorkerError as error:
            jobs.drop(group)
            failure, failed = str(error), time.time()
            again = re.sub(r"\d+", "N", failure) if error.raised else ""
            if restart == most or (again and again == raised):
                raise
            raised = again
            epoch = newest.epoch if newest else 0
            yield Notice(
                f"{failure}; other workers go on from epoch {epoch + 1} "
                f"(restart {restart + 1} of at most {most})"
            )
        except BaseException:
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


def _run(
    group: WorkerGroup, task: Task, log_dir: Path, newest: Checkpoint | None
) -> Iterator[Event]:
    return group.run(task, log_dir, newest.state if newest else None)

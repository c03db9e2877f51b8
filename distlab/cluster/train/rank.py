"""A rank under Ray Train: its train function, around the same process of a rank as ever."""

from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.train

from distlab.backends.base import Placement
from distlab.cluster.actor import Assignment, RankActor, Seat
from distlab.cluster.train import mailbox
from distlab.cluster.worker_environment import WorkerEnvironment
from distlab.experiment.task import Task
from distlab.outcome.events import Progress


@dataclass(frozen=True)
class Duty:
    """One run, as told to all ranks of all its groups.

    Attributes
    ----------
    mailbox:
        Where they leave their events.
    task, environment, data, log_dir:
        As in :class:`~distlab.cluster.actor.Assignment`; the batch of a rank follows from the
        number of ranks that its group has.
    """

    mailbox: Any
    task: Task
    device: str
    threads: int
    environment: WorkerEnvironment
    data: list[Any]
    log_dir: str


_actor: RankActor | None = None
_group: tuple[str, tuple[str, ...]] = ("", ())


def sit(interface: str | None) -> Seat:
    """Where this worker is, as :meth:`RankActor.address` tells."""
    global _actor
    _actor = _actor or RankActor()
    return _actor.address(interface)


def meet(attempt: str, endpoints: tuple[str, ...]) -> None:
    """Learn the number of this worker's group, and the endpoints of its ranks."""
    global _group
    _group = attempt, endpoints


def train(duty: Duty) -> None:
    """Run the task on this rank: what Ray Train calls in a thread of each worker."""
    context = ray.train.get_context()
    attempt, endpoints = _group
    size = context.get_world_size()
    start = ray.get(duty.mailbox.start.remote(attempt))
    placement = Placement(
        rank=context.get_world_rank(),
        world_size=size,
        local_rank=context.get_local_rank(),
        device="gpu" if duty.device == "gpu" else "cpu",
        endpoints=endpoints,
        threads=duty.threads,
        folder=start.folder,
    )
    program = replace(duty.task.program, local_batch=duty.task.global_batch // size)
    task = replace(duty.task, program=program)
    assert _actor is not None
    for event in _actor.run(
        Assignment(task, placement, duty.environment, duty.data, duty.log_dir, start.state)
    ):
        come = mailbox.put(duty.mailbox, mailbox.Told(attempt, event))
        # Inside a timed window nothing is waited for.
        if not isinstance(event, Progress):
            ray.get(come)

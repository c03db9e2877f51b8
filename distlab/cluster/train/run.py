"""One run by Ray Train, as its driver sees it: the same events as those of kept workers."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray._raylet import PlacementGroupID
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from distlab.cluster.actor import Seat
from distlab.cluster.ending import NODE_LOST, diverging, too_slow
from distlab.cluster.group import OTHERS_DIVERGE_S
from distlab.cluster.logs import elsewhere, log_of
from distlab.cluster.start import interpreter, waiting
from distlab.cluster.start.causes import cause
from distlab.cluster.train import mailbox
from distlab.cluster.worker_environment import WorkerEnvironment
from distlab.errors import DistlabError, WorkerError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode
from distlab.experiment.task import Task
from distlab.outcome import environment
from distlab.outcome.events import Divergence, Event, Failed, Notice, Ready, Started

CONTROLLERS = 3
"""How many controllers a run may have, one after the other."""


@dataclass
class _Group:
    """The workers of one attempt, and what is known of them."""

    attempt: str
    seats: list[Seat]
    deadline: float
    logs: dict[int, str]
    started: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    diverged: dict[int, Divergence] = field(default_factory=dict)
    failed: Failed | None = None
    lost: mailbox.Lost | None = None


class TrainRun:
    """The workers of one run under Ray Train; they end with it.

    Parameters
    ----------
    experiment:
        What is to be run.
    data:
        The data set in Ray's object store.

    Attributes
    ----------
    id:
        What tells its workers from any others that were ever started.
    runs:
        How many runs have begun.
    """

    def __init__(self, experiment: Experiment, data: Any) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.runs = 0
        self._experiment = experiment
        self._options = experiment.options
        self._timeout = self._options.cluster.start_timeout_s
        self._data = data
        self._runtime_env = interpreter.environment(self._options)
        self._environment = WorkerEnvironment.of(experiment)
        self._others = set(placement_group_table())
        self._storage = tempfile.mkdtemp(prefix="distlab-train-")
        self._mailbox = mailbox.opened()
        self._controller: Any = None

    def run(self, task: Task, log_dir: Path) -> Iterator[Event]:
        """Run a task on all ranks and yield their events as they arrive.

        Parameters and errors are those of :meth:`distlab.cluster.group.WorkerGroup.run`.
        """
        self.runs += 1
        log_dir.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(CONTROLLERS)):
            end = self._fit(task, log_dir)
            try:
                yield from self._events(end, task, log_dir)
                return
            except RayActorError as error:
                self._give_back()
                if not left:
                    why = f"Ray Train's controller died: {cause(error)}"
                    raise WorkerError(why, str(log_dir)) from None
                yield Notice("Ray Train's controller died: another takes its place")

    def alive(self) -> bool:
        """Whether the workers can serve a further run, which Ray Train's cannot."""
        return False

    def close(self, wait: bool = False) -> None:
        """End the workers and all that Ray Train started for them."""
        self._give_back()
        ray.kill(self._mailbox)
        shutil.rmtree(self._storage, ignore_errors=True)

    def _fit(self, task: Task, log_dir: Path) -> "Future[None]":
        """Have Ray Train run the task; the future is done when that has ended.

        In a thread Ray Train leaves it to the driver what Ctrl-C does.
        """
        # It imports pandas, Arrow and more, which no other run needs.
        from distlab.cluster.train import control, rank

        control.set_up(os.environ, self._options.cluster)
        duty = rank.Duty(
            mailbox=self._mailbox,
            task=task,
            device=self._experiment.device,
            threads=self._options.threads_per_worker,
            environment=self._environment,
            data=[self._data],
            log_dir=str(log_dir),
        )
        trainer = control.trainer(self._experiment, duty, self._storage, self._runtime_env)
        end: Future[None] = Future()

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as error:
                end.set_exception(error)
            else:
                end.set_result(None)

        threading.Thread(target=fit, name="ray-train", daemon=True).start()
        return end

    def _events(self, end: "Future[None]", task: Task, log_dir: Path) -> Iterator[Event]:
        """What ranks tell until Ray Train has ended."""
        workers = self._experiment.world_size
        wait = waiting.Wait(self._options, workers, time.monotonic() + self._timeout)
        group: _Group | None = None
        while True:
            over = end.done()
            messages = mailbox.take(self._mailbox, 0 if over else waiting.SIGNALS_S)
            for message in messages:
                match message:
                    case mailbox.Steered(controller=controller):
                        self._controller = controller
                    case mailbox.Seated():
                        self._check(message.seats)
                        again = "" if group is None else " again"
                        group = self._seated(message, log_dir)
                        if again:
                            yield Notice(f"{len(group.seats)} workers start{again}")
                    case mailbox.Lost() if group:
                        group.lost = message
                    case mailbox.Told(attempt=attempt, event=event):
                        if group and attempt == group.attempt:
                            yield from self._told(group, event, log_dir)
            if group is None and not over:
                for table in self._places():
                    yield from wait.told(table, list(range(workers)))
            if group is not None:
                self._check_time(group, task)
            if over and not messages:
                break
        if (error := end.exception()) is not None:
            raise self._ending(error, group, log_dir)

    def _seated(self, placed: mailbox.Seated, log_dir: Path) -> _Group:
        """A group that has its places; its ranks may start."""
        ray.get(self._mailbox.decide.remote(placed.attempt, []))
        logs = {rank: str(log_dir / f"rank-{rank}.log") for rank in range(len(placed.seats))}
        return _Group(placed.attempt, placed.seats, time.monotonic() + self._timeout, logs)

    def _told(self, group: _Group, event: Event, log_dir: Path) -> Iterator[Event]:
        """Note what a rank tells, and hand it on."""
        match event:
            case Started(rank=rank):
                group.logs[rank] = log_of(event)
                group.started.add(rank)
                yield from elsewhere(event, log_dir)
            case Ready(rank=rank):
                group.ready.add(rank)
            case Divergence(rank=rank):
                if not group.diverged:
                    group.deadline = time.monotonic() + OTHERS_DIVERGE_S
                group.diverged.setdefault(rank, event)
            case Failed() if not group.diverged:
                group.failed = group.failed or event
                if event.user_error is not None:
                    raise DistlabError(*event.user_error)
        if not group.diverged:
            yield event

    def _check_time(self, group: _Group, task: Task) -> None:
        """End a run that diverged, or whose workers are not ready in time."""
        late = time.monotonic() > group.deadline
        if group.diverged and (late or len(group.diverged) == len(group.seats)):
            first = min(group.diverged.values(), key=lambda one: (one.epoch, one.step, one.rank))
            raise diverging(first, task)
        if late and len(group.ready) < len(group.seats) and not group.lost:
            missing = set(range(len(group.seats))) - group.ready
            hosts = {rank: group.seats[rank].host for rank in missing}
            log = group.logs[min(missing)]
            raise too_slow(self._timeout, len(group.seats), len(group.started), hosts, log)

    def _check(self, seats: list[Seat]) -> None:
        """Refuse nodes on which another distlab would run."""
        others = [seat for seat in seats if seat.code != environment.code()]
        if others and self._options.cluster.mode is ClusterMode.existing:
            raise DistlabError(
                f"workers of this command's distlab {environment.code()}",
                f"on {others[0].host} it is {others[0].code}",
                "install the same distlab on each node of Ray",
            )

    def _ending(self, error: BaseException, group: _Group | None, log_dir: Path) -> BaseException:
        """The error for what Ray Train ended with."""
        if isinstance(error, RayActorError):
            return error
        if group is None:
            return WorkerError(f"Ray Train started no workers: {cause(error)}", str(log_dir))
        lost = group.lost or mailbox.Lost({}, {})
        for reasons, what in ((lost.died, "died"), (lost.failed, "failed")):
            if what == "failed" and group.failed is not None:
                reasons = {group.failed.rank: group.failed.message}
            for rank, why in sorted(reasons.items())[:1]:
                told = WorkerError(
                    f"worker {rank} on {group.seats[rank].host} {what}: {why}", group.logs[rank]
                )
                told.may_pass = what == "died" and NODE_LOST in why
                return told
        return WorkerError(f"Ray Train gave up: {cause(error)}", str(log_dir))

    def _places(self) -> list[dict[str, Any]]:
        """What Ray says of the placement groups of this run."""
        own = ray.get_runtime_context().get_job_id()
        return [
            table
            for number, table in placement_group_table().items()
            # The last four bytes of its id are those of its job's.
            if number not in self._others and number.endswith(own) and table["state"] != "REMOVED"
        ]

    def _give_back(self) -> None:
        """End the controller and its workers, and give back their places.

        Ray frees the places of an actor that died no sooner than its job ends.
        """
        if self._controller is not None:
            with contextlib.suppress(ValueError):
                ray.kill(self._controller)
            self._controller = None
        for table in self._places():
            number = PlacementGroupID(bytes.fromhex(table["placement_group_id"]))
            remove_placement_group(PlacementGroup(number))

"""A run by Ray Train, as its driver sees it: the same events as those of own actors."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray._raylet import PlacementGroupID
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from distlab.cluster import connect
from distlab.cluster.actor import Seat
from distlab.cluster.ending import NODE_LOST, diverging, failing, too_slow
from distlab.cluster.group import OTHERS_DIVERGE_S
from distlab.cluster.logs import elsewhere, log_of
from distlab.cluster.pool import Jobs
from distlab.cluster.restarts import Life, in_step
from distlab.cluster.start import interpreter, local_ray, seats, session, waiting
from distlab.cluster.start.causes import cause
from distlab.cluster.train import mailbox
from distlab.cluster.train.mailbox import Lost, Message, Seated, Steered, Told
from distlab.cluster.watch.head import Head, told
from distlab.cluster.watch.watching import TURN_S, Watch
from distlab.cluster.worker_environment import WorkerEnvironment
from distlab.console import counted
from distlab.data.dataset import Dataset
from distlab.errors import DistlabError, RayLostError, StalledError, WorkerError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode
from distlab.experiment.task import Task
from distlab.outcome.events import Checkpoint, Divergence, Event, Failed, Notice, Ready, Started

END_S = 60.0
"""How long it takes at most until Ray Train has told that a worker was ended."""


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
    """Have Ray Train run a task, and after a failure again, from the newest state.

    Parameters, events and errors are those of :func:`distlab.cluster.restarts.lasting`. Workers are
    never kept; those that are kept from other runs of the command end, for want of room.
    """
    jobs.renew()
    ours = experiment.options.cluster.mode is ClusterMode.local
    life = Life(most, start, failure)
    while True:
        run = _Run(experiment, jobs.data(dataset), task, log_dir, life)
        try:
            yield from run.events()
            return
        except RayLostError as error:
            if not ours:
                raise
            yield life.survived(error)
        finally:
            run.close()
        connect.connect(experiment.options)


@dataclass
class _Group:
    """The workers of one attempt, and what is known of them."""

    attempt: str
    seats: list[Seat]
    deadline: float
    logs: dict[int, str]
    watch: Watch
    started: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    diverged: dict[int, Divergence] = field(default_factory=dict)
    failed: Failed | None = None
    stalled: StalledError | None = None


class _Run:
    """One run. The driver alone decides from which state a group of workers starts."""

    def __init__(
        self, experiment: Experiment, data: Any, task: Task, log_dir: Path, life: Life
    ) -> None:
        self._experiment, self._options = experiment, experiment.options
        self._timeout = self._options.cluster.start_timeout_s
        self._data, self._task, self._log_dir, self._life = data, task, log_dir, life
        self._runtime_env = interpreter.environment(self._options)
        self._others = set(placement_group_table())
        # Where Ray is this command's own, that of a killed one is removed with Ray's by the next.
        ours = self._options.cluster.mode is ClusterMode.local
        place = session.folder() if ours else None
        self._storage = tempfile.mkdtemp(prefix="distlab-train-", dir=place)
        self._session = connect.connected_to()
        self._mailbox = mailbox.opened()
        self._controller: Any = None
        self._seated: Seated | None = None
        log_dir.mkdir(parents=True, exist_ok=True)

    def events(self) -> Iterator[Event]:
        """What happens, until the run has ended; another controller follows one that dies."""
        while True:
            with connect.left_when_lost():
                try:
                    yield from self._until_the_end(self._fit())
                    return
                except RayActorError as error:
                    Head.connected().check(now=True)
                    self._give_back()
                    who = "Ray Train's controller"
                    if error.actor_id == self._mailbox._actor_id.hex():
                        who, self._mailbox = "what collects the events of workers", mailbox.opened()
                    why = WorkerError(f"{who} died: {cause(error)}", str(self._log_dir))
            yield self._life.survived(why)

    def close(self) -> None:
        """End the workers and all that Ray Train started for them."""
        if self._session == connect.connected_to():
            told(self._end)
        shutil.rmtree(self._storage, ignore_errors=True)

    def _end(self) -> None:
        self._give_back()
        ray.kill(self._mailbox)

    def _fit(self) -> "Future[None]":
        """Have Ray Train run the task; the future is done when that has ended.

        In a thread Ray Train leaves it to the driver what Ctrl-C does.
        """
        # It imports pandas, Arrow and more, which no other run needs.
        from distlab.cluster.train import control, rank

        control.set_up(os.environ, self._experiment)
        duty = rank.Duty(
            mailbox=self._mailbox,
            task=self._task,
            device=self._experiment.device,
            threads=self._options.threads_per_worker,
            environment=WorkerEnvironment.of(self._experiment),
            data=[self._data],
            log_dir=str(self._log_dir),
        )
        failures = self._life.left
        trainer = control.trainer(
            self._experiment, duty, self._storage, self._runtime_env, failures
        )
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

    def _until_the_end(self, end: "Future[None]") -> Iterator[Event]:
        """The events of one group of workers after the other, under one controller."""
        messages = self._messages(end)
        before = 0
        yield from self._waited(messages)
        while (seated := self._seated) is not None:
            self._seated = None
            group = self._take_seats(seated)
            size = len(group.seats)
            yield self._life.begun(group.attempt[:12], 0, size)
            if before not in (0, size):
                now = counted(size, "worker")
                yield Notice(f"{now} instead of {before} from epoch {self._life.epoch + 1}")
            before = size
            for event in in_step(self._of_group(group, messages), size):
                self._life.note(event)
                yield event
            if self._seated is None:
                yield from self._waited(messages)
            else:
                self._life.moved()
        if (error := end.exception()) is not None:
            if isinstance(error, RayActorError):
                raise error
            raise WorkerError(f"Ray Train gave up: {cause(error)}", str(self._log_dir))

    def _messages(self, end: "Future[None]") -> Iterator[Message | None]:
        """Messages as they come, and None each time that there are no more for now."""
        while True:
            over = end.done()
            promise = mailbox.asked(self._mailbox, 0 if over else waiting.SIGNALS_S)
            while not ray.wait([promise], timeout=TURN_S)[0]:
                yield None
            messages = mailbox.taken(promise)
            for message in messages:
                if isinstance(message, Steered):
                    self._controller = message.controller
                else:
                    yield message
            if over and not messages:
                return
            yield None

    def _waited(self, messages: Iterator[Message | None]) -> Iterator[Notice]:
        """Wait until a group of workers has its places, or there will be none."""
        workers = self._experiment.world_size
        wait = waiting.Wait(self._options, workers, time.monotonic() + self._timeout)
        head = Head.connected()
        for message in messages:
            if isinstance(message, Seated):
                self._seated = message
                return
            head.check()
            if message is None and head.answers:
                for table in self._places():
                    yield from wait.told(table, list(range(workers)))

    def _take_seats(self, seated: Seated) -> _Group:
        """A group that has its places starts, from the newest state."""
        seats.check(seated.seats, self._options)
        newest = self._life.newest
        states = [] if newest is None else [ray.put(newest.state)]
        local = self._options.cluster.mode is ClusterMode.local
        folder = local_ray.folder_of_ranks() if local else None
        ray.get(self._mailbox.decide.remote(seated.attempt, mailbox.Start(states, folder)))
        logs = {rank: f"{self._log_dir / f'rank-{rank}.log'}" for rank in range(len(seated.seats))}
        deadline = time.monotonic() + self._timeout
        watch = Watch(len(seated.seats), self._options.cluster.silence_timeout_s)
        return _Group(seated.attempt, seated.seats, deadline, logs, watch)

    def _of_group(self, group: _Group, messages: Iterator[Message | None]) -> Iterator[Event]:
        """The events of a group, until it is lost, another has its place, or all has ended."""
        for message in messages:
            match message:
                case Seated():
                    self._seated = message
                    return
                case Lost():
                    yield self._life.survived(self._error(group, message))
                    return
                case Told(attempt=group.attempt, event=event):
                    group.watch.heard(event)
                    yield from self._told(group, event)
            yield from self._silent(group)

    def _silent(self, group: _Group) -> Iterator[Notice]:
        """Tell of workers that fall silent; those that do for too long are ended, as if killed."""
        if group.stalled is not None:
            if time.monotonic() > group.deadline:
                raise group.stalled
            return
        try:
            self._check_time(group)
            yield from group.watch.turn()
        except StalledError as error:
            yield Notice(f"{error}; it is ended")
            group.watch.end(error.ranks)
            group.stalled, group.deadline = error, time.monotonic() + END_S

    def _told(self, group: _Group, event: Event) -> Iterator[Event]:
        """Note what a rank tells, and hand it on."""
        match event:
            case Started(rank=rank):
                group.logs[rank] = log_of(event)
                group.started.add(rank)
                yield from elsewhere(event, self._log_dir)
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
                return
        if not group.diverged:
            yield event

    def _check_time(self, group: _Group) -> None:
        """End a run that diverged, or whose workers are not ready in time."""
        late = time.monotonic() > group.deadline
        if group.diverged and (late or len(group.diverged) == len(group.seats)):
            first = min(group.diverged.values(), key=lambda one: (one.epoch, one.step, one.rank))
            raise diverging(first, self._task)
        if late and len(group.ready) < len(group.seats):
            missing = sorted(set(range(len(group.seats))) - group.ready)
            raise too_slow(
                *(self._timeout, len(group.seats), len(group.started)),
                {rank: group.seats[rank].host for rank in missing},
                *(group.watch.doing(missing), group.logs[missing[0]]),
                self._experiment.device,
            )

    def _error(self, group: _Group, lost: Lost) -> WorkerError:
        """The error for a group that is lost: of its first worker that died, else that failed."""
        if group.stalled is not None:
            return group.stalled
        hosts = [seat.host for seat in group.seats]
        logs = [group.logs[rank] for rank in range(len(hosts))]
        if not lost.died and group.failed is not None:
            return failing(group.failed, hosts, logs, group.watch)
        rank, why = min((lost.died or lost.failed).items())
        what = "died" if lost.died else "failed"
        gone = NODE_LOST in why
        more = group.watch.out_of_memory(rank) if lost.died and not gone else ""
        error = WorkerError(f"worker {rank} on {hosts[rank]} {what}: {why}{more}", logs[rank])
        error.raised, error.may_pass = not lost.died, gone
        return error

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

        Ray frees the places that an actor asked for no sooner than its job ends.
        """
        if self._controller is not None:
            with contextlib.suppress(ValueError):
                ray.kill(self._controller)
            self._controller = None
        for table in self._places():
            number = PlacementGroupID(bytes.fromhex(table["placement_group_id"]))
            remove_placement_group(PlacementGroup(number))

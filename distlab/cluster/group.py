"""Started workers of one framework on Ray, which run one experiment after the other.

Each rank is a Ray actor in a placement group. Ray Train's trainer would do the same through five
more processes of its own, each of which imports seconds of libraries before a first step.
"""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from distlab.backends.base import Placement
from distlab.cluster import connect
from distlab.cluster.actor import Assignment, RankActor
from distlab.cluster.ending import Ending, PortTakenError, diverging, too_slow
from distlab.cluster.logs import elsewhere, log_of
from distlab.cluster.start import interpreter, local_ray, seats, waiting
from distlab.cluster.start.causes import cause
from distlab.cluster.watch.head import Head, told
from distlab.cluster.watch.watching import TURN_S, Watch
from distlab.cluster.worker_environment import WorkerEnvironment
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode
from distlab.experiment.task import Task
from distlab.outcome.events import Divergence, Event, Failed, Notice, Ready, Started

OTHERS_DIVERGE_S = 10.0
"""For how long, where one rank diverged, it is waited for what the others saw: a span or two."""
CLOSE_S = 15.0
ANSWER_S = 10.0

# On this machine distlab itself sees to it that only one group works at a time, so that idle ones
# may wait in places that Ray would count as taken.
IDLE_CPU = 0.001


class WorkerGroup:
    """Workers that Ray has placed and started; they run what they are given until :meth:`close`.

    Their processes, the imported framework, the process group and the data on the devices are
    kept between runs; model and optimizer are new in each.

    Parameters
    ----------
    experiment:
        The first of the experiments to be run; all have its framework, environment, devices,
        number of workers, threads and data.
    data:
        The data set in Ray's object store.

    Attributes
    ----------
    id:
        What tells it from any other group that was ever started.
    runs:
        How many runs have begun.
    """

    def __init__(self, experiment: Experiment, data: Any) -> None:
        options = experiment.options
        self.world_size = experiment.world_size
        self.id = uuid.uuid4().hex[:12]
        self.runs = 0
        self._data = data
        self._session = connect.connected_to()
        self._device = experiment.device
        self._threads = options.threads_per_worker
        self._timeout = options.cluster.start_timeout_s
        on_gpu = experiment.device == "gpu"
        self._environment = WorkerEnvironment.of(experiment)
        self._placements: list[Placement] = []
        local = options.cluster.mode is ClusterMode.local
        cpus = IDLE_CPU if local else options.threads_per_worker
        # Here workers have their GPUs by WorkerEnvironment.gpus: idle ones take none from others.
        gpus = int(on_gpu and not local)
        bundle = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
        self._options = options
        runtime_env = interpreter.environment(options)
        self._places = placement_group(
            [bundle] * self.world_size, strategy=options.placement.upper()
        )
        self._make_actor = lambda index: (
            ray.remote(RankActor)
            .options(
                num_cpus=cpus,
                num_gpus=gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._places, index),
                runtime_env=runtime_env,
            )
            .remote()
        )
        self._actors: list[Any] = []
        self._logs: dict[int, str] = {}
        try:
            self._request = self._begin()
        except (TypeError, ValueError) as error:
            remove_placement_group(self._places)
            if runtime_env is None:
                raise  # no user's mistake
            raise DistlabError(
                f"framework.runtime_env={options.framework.runtime_env}",
                f"Ray refuses it: {cause(error)}",
                "fields and values as in Ray's documentation of runtime environments; a text that "
                "looks like a number in quotes; an environment that exists: "
                "'framework.runtime_env={py_executable: PYTHON}'",
            ) from error

    def run(self, task: Task, log_dir: Path, state: bytes | None = None) -> Iterator[Event]:
        """Run a task on all ranks and yield their events as they arrive.

        Parameters
        ----------
        task:
            What the ranks are told.
        log_dir:
            Each worker writes all that it prints to ``rank-N.log`` in it, on its own node.
        state:
            What to go on from (:class:`distlab.checkpoints.state.State`); None to begin anew.

        Raises
        ------
        DistlabError
            If a worker found a user's mistake, or the start took too long.
        DivergedError
            If a loss, or what it led to, was not finite. The group is of no more use then.
        WorkerError
            If a worker failed, died or fell silent. The group is of no more use then.
        RayLostError
            If Ray itself is gone, and with it all groups; this process has left it then.
        """
        self.runs += 1
        log_dir.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._timeout
        states = [] if state is None else [ray.put(state)]
        with connect.left_when_lost():
            yield from self._run_on_free_ports(task, log_dir, deadline, states)

    def _run_on_free_ports(
        self, task: Task, log_dir: Path, deadline: float, states: list[Any]
    ) -> Iterator[Event]:
        """Run a task, and once more where somebody else took a port meanwhile."""
        try:
            yield from self._run(task, log_dir, deadline, states)
        except PortTakenError:
            for actor in self._actors:
                ray.kill(actor)
            self._placements, self._request = [], self._begin()
            yield Notice("a port of the workers was taken meanwhile: they start again on others")
            yield from self._run(task, log_dir, deadline, states)

    def _begin(self) -> waiting.Request:
        """Have Ray start the workers."""
        self._actors = [self._make_actor(index) for index in range(self.world_size)]
        asked = [one.address.remote(self._options.network.interface) for one in self._actors]
        return waiting.Request(self._options, self._places, asked)

    def _run(
        self, task: Task, log_dir: Path, deadline: float, states: list[Any]
    ) -> Iterator[Event]:
        """Run a task on workers that are there, or as soon as they are."""
        if not self._placements:
            yield from self._place(deadline, log_dir)
        streams = [
            actor.run.options(num_returns="streaming").remote(
                Assignment(task, placement, self._environment, [self._data], str(log_dir), states)
            )
            for actor, placement in zip(self._actors, self._placements, strict=True)
        ]
        started: set[int] = set()
        ready: set[int] = set()
        diverged: dict[int, Divergence] = {}
        watch = Watch(self.world_size, self._options.cluster.silence_timeout_s)
        unfinished: list[Any] = list(streams)
        while unfinished:
            arrived: list[Any]
            arrived, _ = ray.wait(unfinished, num_returns=1, timeout=TURN_S)
            yield from watch.turn()
            if not arrived and len(ready) < self.world_size and time.monotonic() > deadline:
                missing = sorted(set(range(self.world_size)) - ready)
                late = {rank: self._hosts[rank] for rank in missing}
                raise too_slow(
                    *(self._timeout, self.world_size, len(started), late, watch.doing(missing)),
                    self._log(missing[0], log_dir),
                    self._device,
                )
            if diverged and time.monotonic() > deadline:
                break
            for stream in arrived:
                try:
                    event = _received(next(stream), watch)
                except StopIteration:
                    unfinished.remove(stream)
                    continue
                except RayError as error:
                    watch.ray_is_there()
                    if diverged:
                        unfinished.remove(stream)
                        continue
                    raise self._ending(streams, log_dir, watch).error(error) from None
                watch.heard(event)
                match event:
                    case Started(rank=rank):
                        started.add(rank)
                        self._logs[rank] = log_of(event)
                        yield from elsewhere(event, log_dir)
                    case Ready(rank=rank):
                        ready.add(rank)
                    case Divergence(rank=rank):
                        if not diverged:
                            deadline = time.monotonic() + OTHERS_DIVERGE_S
                        diverged.setdefault(rank, event)
                    case Failed() if not diverged:
                        raise self._ending(streams, log_dir, watch).error(failed=event)
                if not diverged:
                    yield event
            if len(diverged) == self.world_size:
                break
        if diverged:
            first = min(diverged.values(), key=lambda one: (one.epoch, one.step, one.rank))
            raise diverging(first, task)

    def alive(self) -> bool:
        """Whether all workers still answer; asked between runs."""
        if self._session != connect.connected_to():
            return False
        try:
            ray.get([actor.address.remote() for actor in self._actors], timeout=ANSWER_S)
        except RayError:
            return False
        return True

    def close(self, wait: bool = False) -> None:
        """End the workers; with ``wait`` they leave their process group first (at most 15 s)."""
        if self._session != connect.connected_to():
            return  # they ended with their Ray
        if wait and Head.reached():
            leaving = [actor.leave.remote() for actor in self._actors]
            ray.wait(leaving, num_returns=len(leaving), timeout=CLOSE_S)
        told(self._end)

    def _end(self) -> None:
        for actor in self._actors:
            ray.kill(actor)
        remove_placement_group(self._places)

    def _place(self, deadline: float, log_dir: Path) -> Iterator[Notice]:
        """Learn where Ray has started the workers, and give them their ranks, node by node."""
        found = yield from self._request.answered(deadline, str(log_dir))
        seats.check(found, self._options)
        nodes = list(dict.fromkeys(seat.node for seat in found))
        order = sorted(range(self.world_size), key=lambda index: nodes.index(found[index].node))
        self._actors = [self._actors[index] for index in order]
        placed = [found[index] for index in order]
        self._hosts = [seat.host for seat in placed]
        endpoints = tuple(seat.endpoint for seat in placed)
        local = self._options.cluster.mode is ClusterMode.local
        folder = local_ray.folder_of_ranks() if local else None
        for rank, seat in enumerate(placed):
            self._placements.append(
                Placement(
                    rank=rank,
                    world_size=self.world_size,
                    local_rank=[other.node for other in placed[:rank]].count(seat.node),
                    device="gpu" if self._device == "gpu" else "cpu",
                    endpoints=endpoints,
                    threads=self._threads,
                    folder=folder,
                )
            )

    def _ending(self, streams: list[Any], log_dir: Path, watch: Watch) -> Ending:
        """What there is to find out of a run that ended early."""
        logs = [self._log(rank, log_dir) for rank in range(self.world_size)]
        return Ending(streams, self._hosts, logs, watch)

    def _log(self, rank: int, log_dir: Path) -> str:
        """Where a rank's output is."""
        return self._logs.get(rank, str(log_dir / f"rank-{rank}.log"))


def _received(promise: Any, watch: Watch) -> Event:
    """An event that has come; it is lost where Ray is."""
    while True:
        try:
            event: Event = ray.get(promise, timeout=ANSWER_S)
            return event
        except GetTimeoutError:
            watch.ray_is_there()

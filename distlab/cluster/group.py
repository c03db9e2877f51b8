"""Started workers of one framework on Ray, which run one experiment after the other.

Each rank is a Ray actor in a placement group. Ray Train's trainer would do the same through five
more processes of its own, each of which imports seconds of libraries before a first step.
"""

import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from distlab.backends.base import Placement
from distlab.cluster.actor import Assignment, RankActor
from distlab.cluster.worker_environment import WorkerEnvironment
from distlab.errors import DistlabError, DivergedError, WorkerError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode
from distlab.experiment.task import Task
from distlab.outcome.events import Divergence, Event, Failed, Ready, Started

SIGNALS_S = 1.0
"""How often the driver, which waits for workers, sees to Ctrl-C."""
LAST_WORDS_S = 2.0
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
        self._device = experiment.device
        self._threads = options.threads_per_worker
        self._timeout = options.cluster.start_timeout_s
        on_gpu = experiment.device == "gpu"
        self._environment = WorkerEnvironment.of(experiment)
        self._placements: list[Placement] = []
        local = options.cluster.mode is ClusterMode.local
        cpus = IDLE_CPU if local else options.threads_per_worker
        bundle = {"CPU": cpus, **({"GPU": 1} if on_gpu else {})}
        self._places = placement_group([bundle] * self.world_size, strategy="PACK")
        actor: Any = ray.remote(RankActor)
        self._actors = [
            actor.options(
                num_cpus=cpus,
                num_gpus=int(on_gpu),
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._places, index),
                runtime_env=options.framework.runtime_env or None,
            ).remote()
            for index in range(self.world_size)
        ]
        self._addresses = [one.address.remote() for one in self._actors]

    def run(self, task: Task, log_dir: Path) -> Iterator[Event]:
        """Run a task on all ranks and yield their events as they arrive.

        Parameters
        ----------
        task:
            What the ranks are told.
        log_dir:
            Each worker writes all that it prints to ``rank-N.log`` in it, on its own node.

        Raises
        ------
        DistlabError
            If a worker found a user's mistake, or the start took too long.
        DivergedError
            If a loss, or what it led to, was not finite. The group is of no more use then.
        WorkerError
            If a worker failed or died. The group is of no more use then.
        """
        self.runs += 1
        log_dir.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._timeout
        if not self._placements:
            self._place(deadline, log_dir)
        streams = [
            actor.run.options(num_returns="streaming").remote(
                Assignment(task, placement, self._environment, [self._data], str(log_dir))
            )
            for actor, placement in zip(self._actors, self._placements, strict=True)
        ]
        started: set[int] = set()
        ready: set[int] = set()
        diverged: dict[int, Divergence] = {}
        unfinished: list[Any] = list(streams)
        while unfinished:
            arrived: list[Any]
            arrived, _ = ray.wait(unfinished, num_returns=1, timeout=SIGNALS_S)
            if not arrived and len(ready) < self.world_size and time.monotonic() > deadline:
                raise self._too_slow(started, ready, log_dir)
            if diverged and time.monotonic() > deadline:
                break
            for stream in arrived:
                try:
                    event: Event = ray.get(next(stream))
                except StopIteration:
                    unfinished.remove(stream)
                    continue
                except RayError:
                    if diverged:
                        unfinished.remove(stream)
                        continue
                    raise self._broken(streams, log_dir) from None
                match event:
                    case Started(rank=rank):
                        started.add(rank)
                    case Ready(rank=rank):
                        ready.add(rank)
                    case Divergence(rank=rank):
                        if not diverged:
                            deadline = time.monotonic() + OTHERS_DIVERGE_S
                        diverged.setdefault(rank, event)
                    case Failed() if not diverged:
                        raise self._broken(streams, log_dir, event)
                if not diverged:
                    yield event
            if len(diverged) == self.world_size:
                break
        if diverged:
            first = min(diverged.values(), key=lambda one: (one.epoch, one.step, one.rank))
            raise _diverged(first, task)

    def alive(self) -> bool:
        """Whether all workers still answer; asked between runs."""
        try:
            ray.get([actor.address.remote() for actor in self._actors], timeout=ANSWER_S)
        except RayError:
            return False
        return True

    def close(self, wait: bool = False) -> None:
        """End the workers; with ``wait`` they leave their process group first (at most 15 s)."""
        if wait:
            leaving = [actor.leave.remote() for actor in self._actors]
            ray.wait(leaving, num_returns=len(leaving), timeout=CLOSE_S)
        for actor in self._actors:
            ray.kill(actor)
        remove_placement_group(self._places)

    def _place(self, deadline: float, log_dir: Path) -> None:
        """Learn where Ray has started the workers, and give them their ranks, node by node."""
        try:
            found = ray.get(self._addresses, timeout=max(0.0, deadline - time.monotonic()))
        except GetTimeoutError:
            raise self._too_slow(set(), set(), log_dir) from None
        except RayError as error:
            raise WorkerError(
                f"a worker did not start: {_last_words(error)}", str(log_dir)
            ) from error
        nodes = list(dict.fromkeys(node for node, _ in found))
        order = sorted(range(self.world_size), key=lambda index: nodes.index(found[index][0]))
        self._actors = [self._actors[index] for index in order]
        placed = [found[index] for index in order]
        endpoints = tuple(endpoint for _, endpoint in placed)
        for rank, (node, _) in enumerate(placed):
            self._placements.append(
                Placement(
                    rank=rank,
                    world_size=self.world_size,
                    local_rank=[other for other, _ in placed[:rank]].count(node),
                    device="gpu" if self._device == "gpu" else "cpu",
                    endpoints=endpoints,
                    threads=self._threads,
                )
            )

    def _broken(self, streams: list[Any], log_dir: Path, failed: Failed | None = None) -> Exception:
        """The error for a run that a worker did not end.

        When one dies, the others fail for want of it, perhaps before its death is known: so it is
        waited for a moment.
        """
        ends = [stream.completed() for stream in streams]
        ended, _ = ray.wait(ends, num_returns=len(ends), timeout=LAST_WORDS_S)
        if failed is None:
            failed = next(filter(None, map(_failure, streams)), None)
        if failed is not None and failed.user_error is not None:
            return DistlabError(*failed.user_error)
        for rank, end in enumerate(ends):
            error = _error(end) if end in ended else None
            if isinstance(error, RayActorError):
                log = str(log_dir / f"rank-{rank}.log")
                return WorkerError(f"worker {rank} died: {_last_words(error)}", log)
        if failed is not None:
            log = str(log_dir / f"rank-{failed.rank}.log")
            return WorkerError(f"worker {failed.rank} failed: {failed.message}", log)
        return WorkerError("a worker left without a word", str(log_dir))

    def _too_slow(self, started: set[int], ready: set[int], log_dir: Path) -> DistlabError:
        """The error for a start that takes longer than ``cluster.start_timeout_s``."""
        waiting = sorted(set(range(self.world_size)) - ready)
        return DistlabError(
            f"{self.world_size} workers within cluster.start_timeout_s={self._timeout:g} seconds",
            f"{len(started)} of them started; not ready: ranks {', '.join(map(str, waiting))}",
            f"see the workers' output in {log_dir}\nor allow more: cluster.start_timeout_s=600",
        )


def _diverged(first: Divergence, task: Task) -> DivergedError:
    """The error for training that left the numbers, with what most often keeps it on them."""
    rate = task.program.learning_rate
    lower = f"learning_rate={min(1e-3, rate / 10):g}"
    exact = "" if task.program.precision == "fp32" else "\nor precision=fp32"
    return DivergedError(
        f"framework={task.framework} with learning_rate={rate:g}", str(first), lower + exact
    )


def _failure(stream: Any) -> Failed | None:
    """What a rank said of an error, if that is among its events that have come already."""
    while stream.next_ready():
        try:
            event = ray.get(next(stream))
        except (RayError, StopIteration):
            break
        if isinstance(event, Failed):
            return event
    return None


def _error(end: Any) -> Exception | None:
    """What a run that has ended on a rank raised; None if it ended in order."""
    try:
        ray.get(end)
    except Exception as error:
        return error
    return None


def _last_words(error: Exception) -> str:
    """What Ray says of a worker's death, in one line."""
    text = " ".join(str(error).split())
    detail = re.search(r"exit detail: (.*?)(?: There are some potential|$)", text)
    return detail[1] if detail else text[:300]

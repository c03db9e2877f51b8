"""Why a run ended early: which worker, on which host, of what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from distlab.cluster.start.causes import cause
from distlab.cluster.watch.watching import Watch
from distlab.cluster.watch.witness import STOPPED
from distlab.errors import DistlabError, DivergedError, StalledError, WorkerError
from distlab.experiment.task import Task
from distlab.machine.process import Doing
from distlab.outcome.events import Divergence, Failed

LAST_WORDS_S = 2.0
"""For how long the last words of workers are waited for."""
PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|could not start gRPC", re.IGNORECASE)
"""What frameworks say where a port is another's."""

IN_STEP_S = 5.0
"""No rank that trains in step with others is silent for so much longer than they are."""

NODE_LOST = "its node has died"
"""What Ray says of a worker whose machine is lost."""


class PortTakenError(WorkerError):
    """A worker could not have its port, because another process has it by now."""


@dataclass(frozen=True)
class Ending:
    """A run that ended early: the events, hosts and logs of its ranks, and the watch over them."""

    streams: list[Any]
    hosts: list[str]
    logs: list[str]
    watch: Watch

    def error(self, seen: RayError | None = None, failed: Failed | None = None) -> Exception:
        """The error for it.

        When one worker dies, the others fail for want of it, perhaps before its death is known: so
        it is waited for a moment.

        Parameters
        ----------
        seen:
            What Ray raised in the place of an event.
        failed:
            What a rank said of its failure.
        """
        ends = [stream.completed() for stream in self.streams]
        ended, _ = ray.wait(ends, num_returns=len(ends), timeout=LAST_WORDS_S)
        if failed is None:
            failed = next(filter(None, map(_failure, self.streams)), None)
        if failed is not None and failed.user_error is not None:
            return DistlabError(*failed.user_error)
        errors = {rank: _error(end) for rank, end in enumerate(ends) if end in ended}
        for rank, error in errors.items():
            if isinstance(error, RayActorError | OutOfMemoryError):
                lost = NODE_LOST in str(error)
                more = "" if lost else self.watch.out_of_memory(rank)
                died = self._told(rank, f"died: {cause(error)}{more}")
                died.may_pass = lost
                return died
        if failed is not None:
            if not PORT_TAKEN.search(failed.traceback):
                return failing(failed, self.hosts, self.logs, self.watch)
            taken = self._told(failed.rank, f"failed: {failed.message}", PortTakenError)
            taken.raised = True
            return taken
        for rank, error in errors.items():
            if error is not None:
                return self._told(rank, f"failed: {cause(error)}")
        why = cause(seen) if seen is not None else "it said nothing"
        return WorkerError(f"what a worker sent could not be read: {why}", self.logs[0])

    def _told(self, rank: int, what: str, kind: type[WorkerError] = WorkerError) -> WorkerError:
        return kind(f"worker {rank} on {self.hosts[rank]} {what}", self.logs[rank])


def failing(failed: Failed, hosts: Sequence[str], logs: Sequence[str], watch: Watch) -> WorkerError:
    """The error for a rank that failed, perhaps for want of others.

    A framework may notice sooner than distlab that another rank says nothing. One that is stopped
    is blamed; of one that computes it is told, if it has told nothing for longer than ranks do that
    train in step.

    Parameters
    ----------
    failed:
        What a rank said of its failure.
    hosts, logs:
        Those of all, by rank.
    watch:
        The watch over all.
    """
    others = watch.doing(rank for rank in range(len(hosts)) if rank != failed.rank)
    stopped = [rank for rank, one in others.items() if one.state == "stopped"]
    hang = [
        rank
        for rank, one in others.items()
        if one.state == "running" and watch.seconds(rank) > IN_STEP_S
    ]
    told = "; ".join(f"worker {n} on {hosts[n]} is {others[n]}" for n in stopped or hang)
    what = f"worker {failed.rank} on {hosts[failed.rank]} failed: {failed.message}"
    if stopped:
        return StalledError(f"{told}; {what}", logs[stopped[0]], stopped)
    return WorkerError(f"{what}; {told}" if told else what, logs[failed.rank], raised=True)


def diverging(first: Divergence, task: Task) -> DivergedError:
    """The error for training that left the numbers, with what most often keeps it on them."""
    rate = task.program.learning_rate
    lower = f"learning_rate={min(1e-3, rate / 10):g}"
    exact = "" if task.program.precision == "fp32" else "\nor precision=fp32"
    return DivergedError(
        f"framework={task.framework} with learning_rate={rate:g}", str(first), lower + exact
    )


def too_slow(
    timeout: float,
    workers: int,
    started: int,
    late: Mapping[int, str],
    does: Mapping[int, Doing],
    log: str,
    device: str = "cpu",
) -> StalledError | DistlabError:
    """The error for a start that takes longer than ``cluster.start_timeout_s``.

    Parameters
    ----------
    timeout:
        That time, in seconds.
    workers, started:
        How many workers there are to be, and how many processes have started.
    late:
        Which ranks are not ready, and on which hosts.
    does:
        What they do, as far as they have started. Where some are stopped, others may take their
        place; one that computes may only be slow.
    log:
        The output of one of them.
    device:
        ``cpu`` or ``gpu``.
    """
    told = {
        rank: f"{rank} on {host}" + (f" ({does[rank]})" if rank in does else "")
        for rank, host in sorted(late.items())
    }
    if stopped := [rank for rank in told if rank in does and does[rank].state in STOPPED]:
        which = "; ".join(f"worker {one}" for one in told.values())
        return StalledError(f"not ready after {timeout:.0f} s: {which}", log, stopped)
    more = "cluster.start_timeout_s=600"
    if device == "gpu":
        more = (
            "cluster.start_timeout_s=3600 (for a GPU that is newer than itself, as an H100 for "
            "TensorFlow 2.21, a framework compiles its kernels at first use, and CUDA keeps them "
            "in ~/.nv or CUDA_CACHE_PATH: the next start is quicker)"
        )
    return DistlabError(
        f"{workers} workers within cluster.start_timeout_s={timeout:g} seconds",
        f"{started} of them started; not ready: ranks {', '.join(told.values())}",
        f"see the workers' output: {log}\nor allow more: {more}",
        may_pass=True,
    )


def _failure(stream: Any) -> Failed | None:
    """What a rank said of an error, if that is among its events that have come already."""
    while stream.next_ready():
        try:
            event = ray.get(next(stream), timeout=LAST_WORDS_S)
        except (RayError, StopIteration):
            break
        if isinstance(event, Failed):
            return event
    return None


def _error(end: Any) -> Exception | None:
    """What a run that has ended on a rank raised; None if it ended in order."""
    try:
        ray.get(end, timeout=LAST_WORDS_S)
    except Exception as error:
        return error
    return None

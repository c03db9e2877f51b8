"""Why a run ended early: which worker, on which host, of what."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from distlab.cluster.start.causes import cause
from distlab.errors import DistlabError, DivergedError, WorkerError
from distlab.experiment.task import Task
from distlab.outcome.events import Divergence, Failed

LAST_WORDS_S = 2.0
"""For how long the last words of workers are waited for."""
PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|could not start gRPC", re.IGNORECASE)
"""What frameworks say where a port is another's."""

NODE_LOST = "its node has died"
"""What Ray says of a worker whose machine is lost."""


class PortTakenError(WorkerError):
    """A worker could not have its port, because another process has it by now."""


@dataclass(frozen=True)
class Ending:
    """A run that ended early: the events of its ranks, their hosts and logs, by rank."""

    streams: list[Any]
    hosts: list[str]
    logs: list[str]

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
                died = self._told(rank, f"died: {cause(error)}")
                died.may_pass = NODE_LOST in str(error)
                return died
        if failed is not None:
            kind = PortTakenError if PORT_TAKEN.search(failed.traceback) else WorkerError
            told = self._told(failed.rank, f"failed: {failed.message}", kind)
            told.raised = True
            return told
        for rank, error in errors.items():
            if error is not None:
                return self._told(rank, f"failed: {cause(error)}")
        why = cause(seen) if seen is not None else "it said nothing"
        return WorkerError(f"what a worker sent could not be read: {why}", self.logs[0])

    def _told(self, rank: int, what: str, kind: type[WorkerError] = WorkerError) -> WorkerError:
        return kind(f"worker {rank} on {self.hosts[rank]} {what}", self.logs[rank])


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
    log: str,
    device: str = "cpu",
) -> DistlabError:
    """The error for a start that takes longer than ``cluster.start_timeout_s``.

    Parameters
    ----------
    timeout:
        That time, in seconds.
    workers, started:
        How many workers there are to be, and how many processes have started.
    late:
        Which ranks are not ready, and on which hosts.
    log:
        The output of one of them.
    device:
        ``cpu`` or ``gpu``.
    """
    where = ", ".join(f"{rank} on {host}" for rank, host in sorted(late.items()))
    more = "cluster.start_timeout_s=600"
    if device == "gpu":
        more = (
            "cluster.start_timeout_s=3600 (for a GPU that is newer than itself, as an H100 for "
            "TensorFlow 2.21, a framework compiles its kernels at first use, and CUDA keeps them "
            "in ~/.nv or CUDA_CACHE_PATH: the next start is quicker)"
        )
    return DistlabError(
        f"{workers} workers within cluster.start_timeout_s={timeout:g} seconds",
        f"{started} of them started; not ready: ranks {where}",
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

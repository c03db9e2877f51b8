"""Start Ray here or join a running one, and say what it has."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from distlab.cluster import worker_environment
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.options import ClusterMode, Options

# What this command asks of Ray, unless the user's environment says otherwise.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray would have its workers give way to all else: on a busy machine, to a thirtieth of a core.
    "RAY_worker_niceness": "0",
    # Workers that are kept between runs are many processes, on purpose.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "PYTHON worker processes have been started",
}

# Seconds that a Ray to be joined may take to answer.
ANSWER_S = 10
STARTS = 3
"""How often a Ray of this machine is started before its start is given up."""


@dataclass(frozen=True)
class Resources:
    """What Ray has in all: CPUs, GPUs and nodes."""

    cpus: int
    gpus: int
    nodes: int


def connect(options: Options) -> Resources:
    """Have Ray running and be connected to it; a Ray that this process started is used again.

    Raises
    ------
    DistlabError
        If ``cluster=existing`` and no Ray answers.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    if not ray.is_initialized():
        with _own_signal_handlers(), worker_environment.clean(os.environ):
            if options.cluster.mode is ClusterMode.existing:
                _join(options.cluster.address or "auto")
            else:
                _start()
    total = ray.cluster_resources()
    return Resources(int(total.get("CPU", 0)), int(total.get("GPU", 0)), len(ray.nodes()))


def place(options: Options, resources: Resources) -> Experiment:
    """Fit the experiment to what Ray has.

    Raises
    ------
    DistlabError
        If Ray has too few GPUs, or too few CPUs for the workers' threads.
    """
    experiment = resolve(options, resources.gpus)
    needed = experiment.world_size * options.threads_per_worker
    # On this machine alone more threads than cores may be asked for; the run says so.
    if options.cluster.mode is ClusterMode.existing and needed > resources.cpus:
        raise DistlabError(
            f"{experiment.world_size} workers of {options.threads_per_worker} threads each, "
            f"which is {needed} CPUs",
            f"Ray has {resources.cpus} CPUs on {resources.nodes} node(s)",
            f"gpus={resources.cpus // options.threads_per_worker or 1}, fewer threads_per_worker, "
            "or more nodes in the Ray cluster",
        )
    return experiment


@contextlib.contextmanager
def disconnected_at_end() -> Iterator[None]:
    """Leave Ray when the block ends; a Ray that this process started stops with all its workers."""
    try:
        yield
    finally:
        import ray

        ray.shutdown()


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep what this process does on SIGTERM.

    A starting Ray puts handlers in its place: one that exits, and one that aborts 3 s later,
    which may be before a run is recorded as KILLED.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start() -> None:
    """Start Ray on this machine; a start that a busy machine made too slow is tried again.

    Ray itself gives up after 30 s, whatever it is told.
    """
    import ray

    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:
            # What is half started would make the next start think that Ray is there.
            ray.shutdown()
            if left and "timed out" in str(error).lower():
                continue
            raise DistlabError(
                "to start Ray on this machine (cluster=local)",
                f"Ray said: {_first_line(error)}",
                "try again when the machine is less busy, or join a running Ray: cluster=existing\n"
                "Ray's own logs: /tmp/ray/session_latest/logs (below TMPDIR or RAY_TMPDIR, if set)",
            ) from error


def _first_line(error: Exception) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _join(address: str) -> None:
    """Join the Ray that runs at ``address``.

    A host and port are tried first, because Ray itself tries for minutes and logs on stderr.
    """
    import ray

    try:
        if "://" not in address and ":" in address:
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), ANSWER_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise DistlabError(
            f"to join a running Ray (cluster=existing cluster.address={address})",
            f"none answered: {_first_line(error)}",
            "start one with: ray start --head\n"
            "if it runs and asks for a token: RAY_AUTH_MODE=token in the environment\n"
            "or let distlab start its own: cluster=local",
        ) from error

"""Start Ray here or join a running one, and say what it has."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from distlab.cluster import worker_environment
from distlab.cluster.start import joining, local_ray, session
from distlab.errors import DistlabError, RayLostError
from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.options import ClusterMode, Options, Pin
from distlab.machine.cores import shares, usable

# What this command asks of Ray, unless the user's environment says otherwise.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray would have its workers give way to all else: on a busy machine, to a thirtieth of a core.
    "RAY_worker_niceness": "0",
    # Under `uv run` Ray would give workers an environment of their own, made anew and empty.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # What Ray itself would print here of lost workers and memory, distlab tells in its own words.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}

_lines: list[Any] = []


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
        If Ray does not start, or ``cluster=existing`` and none can be joined.
    """
    existing = options.cluster.mode is ClusterMode.existing
    # Ray reads them when it is imported.
    for name, value in {**SETTINGS, **(joining.settings() if existing else {})}.items():
        os.environ.setdefault(name, value)
    import ray

    if not ray.is_initialized():
        with _own_signal_handlers(), worker_environment.clean(os.environ):
            if existing:
                joining.join(options.cluster.address or "auto")
            else:
                local_ray.start()
    total = ray.cluster_resources()
    alive = sum(node["Alive"] for node in ray.nodes())
    return Resources(int(total.get("CPU", 0)), int(total.get("GPU", 0)), alive)


def unused_address(options: Options) -> str | None:
    """What to tell a user whose environment names a Ray that this command does not join."""
    named = os.environ.get("RAY_ADDRESS")
    if not named or options.cluster.mode is ClusterMode.existing:
        return None
    return (
        f"RAY_ADDRESS={named} is not used: cluster=local starts a Ray of its own "
        "(to join that one: cluster=existing)"
    )


def strangers(experiment: Experiment) -> list[str]:
    """What to tell, once Ray is there, of others who can reach what this command starts."""
    told = []
    if experiment.options.cluster.mode is ClusterMode.local:
        if (mode := os.environ.get("RAY_AUTH_MODE", "")).lower() != "token":
            told.append(
                f"RAY_AUTH_MODE={mode} of the environment: Ray asks nobody for a token, so whoever "
                "reaches it on this machine runs code as this user"
            )
        return told
    if joining.open_to_all:
        told.append(
            f"the Ray at {joining.open_to_all} asks nobody for a token; whoever reaches it runs "
            "code as the user who started it (docs/security.md)"
        )
    if experiment.world_size > 1:
        told.append(
            "workers exchange gradients through ports that ask for no password; whoever reaches "
            "them is this user (docs/security.md)"
        )
    return told


def place(options: Options, resources: Resources) -> Experiment:
    """Fit the experiment to what Ray has.

    Raises
    ------
    DistlabError
        If Ray has too few GPUs, or too few CPUs for the workers' threads, and no autoscaler.
    """
    existing = options.cluster.mode is ClusterMode.existing
    experiment = resolve(options, resources.gpus, may_grow=existing)
    if options.pin is Pin.cores and not existing:
        # On other hosts the workers themselves see whether there are enough.
        shares(usable().allowed, experiment.world_size, options.threads_per_worker)
    needed = experiment.world_size * options.threads_per_worker
    gpus = experiment.world_size if experiment.device == "gpu" else 0
    # On this machine alone more threads than cores may be asked for; the run says so.
    lacking = needed > resources.cpus or gpus > resources.gpus
    if existing and lacking and not autoscaled():
        resolve(options, resources.gpus)  # which refuses, where it is GPUs that are missing
        raise DistlabError(
            f"{experiment.world_size} workers of {options.threads_per_worker} threads each, "
            f"which is {needed} CPUs",
            f"Ray has {resources.cpus} CPUs on {resources.nodes} node(s)",
            f"gpus={resources.cpus // options.threads_per_worker or 1}, fewer threads_per_worker, "
            "or more nodes in the Ray cluster",
        )
    return experiment


def autoscaled() -> bool:
    """Whether the Ray that was joined has more nodes when workers ask for them."""
    from distlab.cluster.start import waiting

    return waiting.autoscaled()


@contextlib.contextmanager
def disconnected_at_end() -> Iterator[None]:
    """Leave Ray when the block ends; a Ray that this process started stops with all its workers."""
    try:
        yield
    finally:
        import ray

        if ray.is_initialized():
            from distlab.cluster.watch.head import Head

            if not Head.reached():
                _hang_up()
        ray.shutdown()
        session.leave()


def connected_to() -> str | None:
    """What tells the Ray that this process is connected to from any other; None without one."""
    import ray

    return ray.get_runtime_context().get_session_name() if ray.is_initialized() else None


def wait_for_head() -> None:
    """Wait until the head of the Ray that this process is connected to answers, if it is to any.

    Raises
    ------
    RayLostError
        If it does not for long; this process has left it then.
    """
    import ray

    from distlab.cluster.watch.head import Head

    if ray.is_initialized():
        with left_when_lost():
            Head.connected().wait()


def leave_lost() -> None:
    """Leave a Ray that is lost, before it ends this process; :func:`connect` may follow.

    If this process started it, all its processes are ended.
    """
    import ray

    _hang_up()
    ray.shutdown()
    # Not before: a process whose connection to its raylet breaks is ended by Ray.
    local_ray.kill()


def _hang_up() -> None:
    """Have Ray's library leave without a word to the head.

    It would wait for ever until one answers that is cut off, or stopped, that it listens no more.
    """
    import ray

    worker: Any = ray._private.worker.global_worker
    worker.threads_stopped.set()  # the listener's, which Ray would clear again
    worker.threads_stopped = threading.Event()
    for line in ("gcs_error_subscriber", "gcs_log_subscriber", "listener_thread"):
        # Kept: where it is destroyed, it may speak.
        _lines.append(worker.__dict__.pop(line, None))


@contextlib.contextmanager
def left_when_lost() -> Iterator[None]:
    """Leave a Ray that is lost in the block, of which its own library may only say: broken pipe.

    Raises
    ------
    RayLostError
        If Ray is lost.
    """
    from distlab.cluster.watch.head import Head

    try:
        try:
            yield
        except OSError:
            Head.connected().check(now=True)
            raise
    except RayLostError:
        leave_lost()
        raise


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

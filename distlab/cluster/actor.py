"""The process of one rank on Ray: where :mod:`distlab.worker.loop` meets the cluster."""

import contextlib
import faulthandler
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from distlab.backends.base import Placement
from distlab.checkpoints.state import State
from distlab.cluster.worker_environment import WorkerEnvironment
from distlab.errors import DistlabError
from distlab.experiment.task import Task
from distlab.machine import cores, guard, network
from distlab.machine.process import STACK, ended_for_memory
from distlab.outcome.environment import code
from distlab.outcome.events import Event, Failed, Started
from distlab.worker import loop


@dataclass(frozen=True)
class Assignment:
    """One run, as told to one rank.

    Attributes
    ----------
    environment:
        What is set up before the framework is imported.
    data:
        The data set in Ray's object store, in a list so that Ray leaves it there.
    log_dir:
        Folder for what the worker prints.
    state:
        What to go on from, encoded, in Ray's object store as the data are; empty to begin anew.
    """

    task: Task
    placement: Placement
    environment: WorkerEnvironment
    data: list[Any]
    log_dir: str
    state: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Seat:
    """Where a worker is.

    Attributes
    ----------
    node, host:
        The id of its node in Ray, and the node's name.
    endpoint:
        A ``host:port`` on it that is kept for the worker as long as its process lives.
    interface:
        The network interface that has this address; None if none of the node's does, or if it
        has none of the name that was asked for.
    interfaces:
        The node's network interfaces and their addresses (IPv4), in words.
    code:
        Which distlab it runs (:func:`distlab.outcome.environment.code`).
    guarded:
        Whether no other user of its machine can connect to it (:mod:`distlab.machine.guard`).
    """

    node: str
    host: str
    endpoint: str
    interface: str | None
    interfaces: str
    code: str
    guarded: bool


class RankActor:
    """The process of one rank, as Ray starts it."""

    def __init__(self) -> None:
        self._rank: loop.Rank | None = None
        self._port: socket.socket | None = None
        with _absent("pyarrow", "pydantic", "starlette"):
            # Ray imports these three before it first reads an object: 45 MiB of each worker.
            ray.get(ray.put(None))

    def address(self, interface: str | None = None) -> Seat:
        """Where the worker is, with a port that is kept for it.

        Parameters
        ----------
        interface:
            The network interface over which others reach it; None for that of its node in Ray.
        """
        held, host = network.addresses(), ray.util.get_node_ip_address()
        found = network.interface(host) if interface is None else interface
        if interface is not None:
            host = held.get(interface, host)
            found = interface if interface in held else None
        if self._port is None:
            self._port = network.reserve(host)
        endpoint = f"{host}:{self._port.getsockname()[1]}"
        node = ray.get_runtime_context().get_node_id()
        told = ", ".join(f"{name} ({one})" for name, one in held.items())
        here = node, socket.gethostname(), endpoint
        return Seat(*here, found, told, code(), guard.active())

    def run(self, assignment: Assignment) -> Iterator[Event]:
        """Run a task; the first one also imports the framework and joins the process group.

        Yields the rank's events, of which Ray makes a stream; the last is
        :class:`~distlab.outcome.events.Finished`, or :class:`~distlab.outcome.events.Failed` and
        then an error.
        """
        task, placement = assignment.task, assignment.placement
        log = _redirect_output(Path(assignment.log_dir), f"rank-{placement.rank}.log")
        try:
            here, address = socket.gethostname(), placement.hosts[placement.rank]
            before = ended_for_memory()
            yield Started(placement.rank, here, os.getpid(), str(log), address, before)
            if self._rank is None:
                may_use = cores.usable()
                granted = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
                facts = assignment.environment.enter(placement, granted)
                self._rank = loop.Rank(
                    *(task.framework, placement, lambda: ray.get(assignment.data[0])),
                    facts,
                    may_use,
                )
            moments = task.program.moments
            states = [State.decoded(ray.get(one), task.spec, moments) for one in assignment.state]
            yield from self._rank.run(task, *states)
        except Exception as error:
            text = traceback.format_exc()
            print(text, file=sys.stderr, flush=True)  # noqa: T201
            user_error = (
                (error.asked, error.found, error.fix) if isinstance(error, DistlabError) else None
            )
            message = f"{type(error).__name__}: {str(error).strip() or text}".splitlines()[0]
            yield Failed(placement.rank, message, text, user_error)
            raise RuntimeError(message) from None

    def leave(self) -> None:
        """Leave the process group."""
        if self._rank is not None:
            self._rank.close()


@contextlib.contextmanager
def _absent(*packages: str) -> Iterator[None]:
    """Let packages seem not installed to what is imported in the block."""
    hidden = {name: None for name in packages if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _redirect_output(folder: Path, name: str) -> Path:
    """Send this process's stdout and stderr, those of native code too, to a file; returns it.

    Where the driver's folder cannot be on this node, it is a new one in its temporary folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("ab", buffering=0)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="distlab-logs-"))
        file = (folder / name).open("ab", buffering=0)
    sys.stdout.flush()
    sys.stderr.flush()
    with file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.register(STACK, file=2)
    return folder / name

"""A Ray of this command's own: where it lives, by which token it is spoken to, how it starts."""

import contextlib
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from distlab.cluster.start import session
from distlab.cluster.start.causes import cause
from distlab.errors import DistlabError
from distlab.machine import guard
from distlab.machine.network import LOOPBACK

STARTS = 3
"""How often a start that was too slow is tried before it is given up."""
RAY = "ray"
"""Ray's own folder in the private one, which it opens to everybody."""

_processes: list[psutil.Process] = []
unguarded = ""
"""Why other users of this machine are not kept from its processes; empty if they are."""


def start() -> None:
    """Start Ray on this machine; a start that a busy machine made too slow is tried again.

    Ray itself gives up after 30 s, whatever it is told. Its processes are guarded from other users
    of the machine (:mod:`distlab.machine.guard`) where that can be done.

    Raises
    ------
    DistlabError
        With Ray's reason.
    """
    import ray

    token()
    try:
        folder = session.folder()
    except OSError as error:
        raise DistlabError(
            "a folder for Ray on this machine (cluster=local)",
            f"{session.place()} takes none: {error.strerror}",
            "name another, with a short path: RAY_TMPDIR=/path",
        ) from error
    library = _guard(folder)
    for left in reversed(range(STARTS)):
        try:
            with guard.inherited(library, os.environ), _on_loopback():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder / RAY),
                    _node_ip_address=LOOPBACK,
                )
            _remember_processes()
            return
        except Exception as error:
            # What is half started would make the next start think that Ray is there.
            ray.shutdown()
            if left and "timed out" in str(error).lower():
                continue
            session.leave(keep=True)
            raise DistlabError(
                "to start Ray on this machine (cluster=local)",
                f"Ray said: {cause(error)}",
                "try again when the machine is less busy, or join a running Ray: cluster=existing\n"
                f"Ray's own logs, until the next command: {folder / RAY}/session_latest/logs",
                may_pass=True,
            ) from error


def _remember_processes() -> None:
    """Note what belongs to this Ray: what outlives its parent cannot be found later."""
    import ray

    node: Any = ray._private.worker.global_worker.node
    _processes.clear()
    for started in (one for some in node.all_processes.values() for one in some):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(started.process.pid)
            _processes.extend((process, *process.children(recursive=True)))


def kill() -> None:
    """End all processes of a Ray that this process started, whatever state they are in."""
    for process in _processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (*process.children(recursive=True), process):
                one.kill()
    _processes.clear()


def folder_of_ranks() -> str:
    """A new folder for the ranks of one group, which no other user may enter."""
    return tempfile.mkdtemp(prefix="ranks-", dir=session.folder())


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a starting Ray take the loopback address, which it else replaces by the machine's.

    On macOS and Windows it keeps it, by this constant.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def token() -> None:
    """Have Ray use a token that this command alone knows, unless its environment names one.

    Ray would take one from the user's home, or write it there, for others to read, after which
    every ``ray start`` asks for it.
    """
    if "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ["RAY_AUTH_TOKEN"] = _own_token()


@cache
def _own_token() -> str:
    """Made once: Ray's native code remembers the first that it is shown, for all later Rays."""
    return secrets.token_hex(32)


def has_stored_token() -> bool:
    """Whether the user's home holds a token for Ray."""
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except (OSError, RuntimeError):  # no home, or none that may be looked into
        return False


def _guard(folder: Path) -> Path | None:
    """The guard for Ray's processes; None, with the reason in :data:`unguarded`, without it."""
    global unguarded
    unguarded = ""
    try:
        return guard.build(folder)
    except OSError as error:
        unguarded = str(error)
        return None

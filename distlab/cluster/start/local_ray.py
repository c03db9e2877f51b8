"""A Ray of this command's own: where it lives, by which token it is spoken to, how it starts."""

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil

from distlab.cluster.start.causes import cause
from distlab.errors import DistlabError

STARTS = 3
"""How often a start that was too slow is tried before it is given up."""
SOCKET_PATH = 107
"""The longest path of a Unix socket, in bytes (unix(7), ``sun_path``)."""
BELOW = len("/ray/session_2026-11-27_17-30-10_725746_4194304/sockets/plasma_store")
"""By how much the path of Ray's longest socket exceeds that of its temporary folder."""

_own_folder: str | None = None
_processes: list[psutil.Process] = []


def start() -> None:
    """Start Ray on this machine; a start that a busy machine made too slow is tried again.

    Ray itself gives up after 30 s, whatever it is told.

    Raises
    ------
    DistlabError
        With Ray's reason.
    """
    import ray

    token()
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=_short_folder() if folder_is_unfit(ray_temp()) else None,
            )
            _remember_processes()
            return
        except Exception as error:
            # What is half started would make the next start think that Ray is there.
            ray.shutdown()
            if left and "timed out" in str(error).lower():
                continue
            logs = Path(_own_folder or f"{ray_temp()}/ray") / "session_latest" / "logs"
            raise DistlabError(
                "to start Ray on this machine (cluster=local)",
                f"Ray said: {cause(error)}",
                "try again when the machine is less busy, or join a running Ray: cluster=existing\n"
                f"Ray's own logs: {logs}",
                may_pass=True,
            ) from error


def _remember_processes() -> None:
    """Note what belongs to this Ray: what outlives its parent cannot be found later."""
    import ray

    node: Any = ray._private.worker.global_worker.node
    started = [one.process.pid for some in node.all_processes.values() for one in some]
    _processes[:] = [
        process
        for pid in started
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    ]


def kill() -> None:
    """End all processes of a Ray that this process started, whatever state they are in."""
    for process in _processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (*process.children(recursive=True), process):
                one.kill()
    _processes.clear()


def clean_up() -> None:
    """Remove the folder of a Ray that has stopped, if distlab made it."""
    global _own_folder
    if _own_folder is not None:
        shutil.rmtree(_own_folder, ignore_errors=True)
        _own_folder = None


def folder_is_unfit(folder: str) -> bool:
    """Whether Ray's sockets could not lie below a folder: its path is too long, or not ASCII."""
    return not folder.isascii() or len(folder) + BELOW > SOCKET_PATH


def token() -> None:
    """Have Ray use a token that this command alone knows, unless the user has one.

    Ray would write one to the user's home, after which every ``ray start`` asks for it.
    """
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if not named and not has_stored_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def has_stored_token() -> bool:
    """Whether the user's home holds a token for Ray."""
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except (OSError, RuntimeError):  # no home, or none that may be looked into
        return False


def ray_temp() -> str:
    """The folder below which Ray would put its sessions, as Ray chooses it."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def _short_folder() -> str:
    """A private folder with a short path, for as long as this Ray runs."""
    global _own_folder
    if _own_folder is None:
        _own_folder = tempfile.mkdtemp(prefix="distlab-", dir="/tmp")
    return _own_folder

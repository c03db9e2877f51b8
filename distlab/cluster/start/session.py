"""The folder of this command's Ray: the user's alone, and gone when the command is.

Ray itself would put it below ``/tmp/ray``, which it opens to everybody, or which somebody else has.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

PREFIX = "distlab-ray-"
OWNER = "owner"
"""The file in it that the living command keeps locked (flock(2)): the kernel frees it."""
SOCKET_PATH = 107
"""The longest path of a Unix socket, in bytes (unix(7), ``sun_path``)."""
SOCKET = "ray/session_2026-11-27_17-30-10_725746_4194304/sockets/plasma_store"
BELOW = len(f"/{PREFIX}12345678/{SOCKET}")
"""By how much the path of Ray's longest socket exceeds that of the folder that holds this one."""


@dataclass
class _Session:
    folder: Path
    lock: int


_session: _Session | None = None


def folder() -> Path:
    """The folder of this command's Ray, made by the first call; those of dead commands are removed.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    global _session
    if _session is None:
        above = Path(place())
        remove_dead(above)
        _session = _make(above)
    return _session.folder


def leave(keep: bool = False) -> None:
    """Remove the folder; with ``keep`` leave it to the next command, so that logs can be read."""
    global _session
    if _session is not None:
        if not keep:
            shutil.rmtree(_session.folder, ignore_errors=True)
        os.close(_session.lock)
        _session = None


def place() -> str:
    """In which folder that of Ray is made: the environment's, else ``/tmp``, whose path is fit."""
    return "/tmp" if is_unfit(asked()) else asked()


def asked() -> str:
    """The temporary folder of the environment, as Ray chooses it."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def is_unfit(folder: str) -> bool:
    """Whether Ray's sockets, or a library to be loaded first, could not lie below a folder.

    Its path is too long, not ASCII, or holds what parts the libraries of ``LD_PRELOAD``.
    """
    return not folder.isascii() or bool({*folder} & {*" :\t"}) or len(folder) + BELOW > SOCKET_PATH


def remove_dead(above: Path) -> None:
    """Remove the user's folders of commands that were killed, whose locks nobody holds."""
    for one in above.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = one.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            lock = os.open(one / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(one, ignore_errors=True)
            finally:
                os.close(lock)


def _make(above: Path) -> _Session:
    """A new folder, that has its name only when it is locked, so that nobody takes it for dead."""
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=above))
    lock = os.open(made / OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return _Session(made.rename(made.with_name(made.name[1:])), lock)

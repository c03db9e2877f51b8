"""Whether what is loaded from a folder can have been put there by somebody else."""

import os
import stat
from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def stranger(path: Path, above: Path) -> str | None:
    """Why a file or folder may be somebody else's work; None if it is the user's or the system's.

    Looked at are the path itself, what it holds, and every folder above it, links resolved: each
    must belong to the user or to root, and nobody else may write to it. Above ``above``, which
    distlab doesn't make, the user's own group may write (where each user has a group, that is
    usual), and everybody may where the sticky bit keeps what is another's (as in ``/tmp``).

    Parameters
    ----------
    path:
        A file or folder that is there.
    above:
        The highest folder that distlab makes itself.
    """
    path, above = path.resolve(), above.resolve()
    own = [path, *(path.rglob("*") if path.is_dir() else ())]
    own += [folder for folder in path.parents if folder.is_relative_to(above)]
    for one in own:
        if (why := _open(one, one.lstat().st_mode & OTHERS_WRITE)) is not None:
            return why
    for folder in above.parents:
        found = folder.stat()
        writable = found.st_mode & OTHERS_WRITE
        if found.st_gid == os.getegid():
            writable &= ~stat.S_IWGRP
        if found.st_mode & stat.S_ISVTX:
            writable = 0
        if (why := _open(folder, writable)) is not None:
            return why
    return None


def make(folder: Path) -> None:
    """Make a folder that its user alone may enter; one of the user's that others may write is shut.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    if found.st_uid == os.geteuid() and found.st_mode & OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS_WRITE)


def _open(path: Path, writable: int) -> str | None:
    """Whose a path is, or who may write to it, if that is not only the user or root."""
    owner = path.lstat().st_uid
    if owner not in (os.geteuid(), 0):
        return f"{path} belongs to another user (uid {owner})"
    if writable and not path.is_symlink():
        return f"others may write to {path} (mode {stat.S_IMODE(path.lstat().st_mode):04o})"
    return None

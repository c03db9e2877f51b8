"""Files: read only where they are files, written whole or not at all, and named by slugs.

A path that somebody names may be a pipe, a device or something endless, and a process may be ended
between two lines that it writes.
"""

import os
import re
import stat
import uuid
from pathlib import Path
from typing import BinaryIO


def opened(path: Path) -> BinaryIO:
    """Open a regular file to read it; links are followed.

    Raises
    ------
    OSError
        If it cannot be opened, or is a folder, a pipe, a socket or a device, which may never end.
    """
    # Opening a pipe would wait for somebody who writes.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(f"{path} is no regular file")


def content(path: Path, most: int) -> bytes:
    """All bytes of a regular file.

    Raises
    ------
    OSError
        If it cannot be read, or holds more than ``most`` bytes.
    """
    with opened(path) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(f"{path} holds more than {most:,} bytes")
    return found


def write(path: Path, text: str | bytes) -> Path:
    """Write a file under another name first, so that it is there whole or as it was.

    What stood at ``path`` is replaced; a link there is, too, and not what it leads to.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    part = path.with_name(f".{path.name[:64]}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def slug(text: str) -> str:
    """A text as a part of a file's or a metric's name.

    Other characters than ASCII letters, digits, ``.``, ``_`` and ``-`` become ``_``, and so does a
    dot at the beginning: a name from a record leads into no other folder and is no markup.
    """
    return re.sub(r"[^A-Za-z0-9._-]|^\.", "_", text)

"""A disk that is full when a run has something to write: what is said, and where else it goes."""

import errno
from collections.abc import Callable
from pathlib import Path

from distlab import files
from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.runs.plan import surroundings

FULL = (errno.ENOSPC, errno.EDQUOT)


def is_cause(error: BaseException) -> bool:
    """Whether a disk, or what a user may have of it, is full."""
    return isinstance(error, OSError) and error.errno in FULL


def told(error: BaseException, run_dir: Path, again: str | None) -> DistlabError:
    """The error for a run whose records have no room.

    Parameters
    ----------
    error, run_dir:
        What was met, and where.
    again:
        What a command says that goes on with it, as ``resume=ID``; None where nothing can.
    """
    why = error.strerror if isinstance(error, OSError) else ""
    command = words.command([again, *surroundings(words.typed())] if again else None)
    return DistlabError(
        f"to write the records of the run into {run_dir}",
        f"{why}; MLflow has its epochs as far as it took them",
        f"make room, then: {command}",
    )


def write(
    path: Path, text: str, otherwise: Callable[[str], bool], say: Callable[[str], None]
) -> None:
    """Write a file that a run ends with, or have it kept elsewhere where the disk is full.

    Parameters
    ----------
    path, text:
        The file, and what is to be in it.
    otherwise:
        What else keeps the text; gives whether it does.
    say:
        What shows a line to the user.

    Raises
    ------
    OSError
        If nothing keeps it.
    """
    try:
        files.write(path, text)
    except OSError as error:
        if not is_cause(error) or not otherwise(text):
            raise
        say(f"{path} cannot be written: {error.strerror}; MLflow has it")

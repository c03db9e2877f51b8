"""What a command needs at its end, looked at before its first run: room for records, the report."""

from pathlib import Path

from distlab.errors import DistlabError
from distlab.experiment.command_line import words

ROOM_BYTES = 1 << 20
"""What a folder must take before anything is run: about what a run leaves there."""


def here() -> None:
    """See that the folder of the command is there.

    Raises
    ------
    DistlabError
        If it was removed.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        found = "the folder that it was started in is no longer there"
        raise DistlabError(words.command(), found, f"cd ~ && {words.command()}") from error


def writable(folder: Path) -> None:
    """Make a folder for records and see that it takes them.

    Raises
    ------
    DistlabError
        If it cannot be made or written, or its disk is full.
    """
    probe = folder / ".room"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(ROOM_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        elsewhere = f"cd ~ && {words.command()}\n" * (not folder.is_absolute())
        raise DistlabError(
            f"to write records into {folder}",
            error.strerror or str(error),
            f"{elsewhere}or another folder: hydra.run.dir=/path/to/folder, "
            "with -m hydra.sweep.dir=/path/to/folder",
        ) from error


def report() -> None:
    """Import what writes a study's report, and draw with it.

    Raises
    ------
    DistlabError
        If a package is missing or cannot draw.
    """
    try:
        from distlab.report import publish  # noqa: F401
        from distlab.report.formats import terminal  # noqa: F401
        from distlab.report.plots import render

        render.ready()
    except Exception as error:
        why = str(error).strip().splitlines() or ["without a reason"]
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        raise DistlabError(
            "to write a report at the end of the study",
            why[0] if missing else f"{type(error).__name__}: {why[0]}",
            f"pip install {missing.split('.')[0]}"
            if missing
            else f"MATPLOTLIBRC=/dev/null {words.command()}\n"
            "pip install --force-reinstall matplotlib",
        ) from error

"""Where the output of a rank is, which may be on another host than asked."""

import socket
from collections.abc import Iterator
from pathlib import Path

from distlab.outcome.events import Notice, Started


def log_of(started: Started) -> str:
    """Where a rank's log is, as a person finds it from the driver's host."""
    here = started.host == socket.gethostname()
    return started.log if here else f"{started.host}:{started.log}"


def elsewhere(started: Started, folder: Path) -> Iterator[Notice]:
    """Tell where a rank's log is, if that is not in the run's folder."""
    if started.log != str(folder / f"rank-{started.rank}.log"):
        why = f"{folder} cannot be made on {started.host}"
        yield Notice(f"log of rank {started.rank}: {log_of(started)} ({why})")

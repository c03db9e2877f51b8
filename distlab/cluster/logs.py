"""Where the output of a rank is, which may be on another host than asked, and how it comes back."""

import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import ray
from ray.exceptions import RayError

from distlab.cluster.watch.head import told
from distlab.cluster.watch.witness import node_of, there
from distlab.outcome.events import Notice, Started

FETCH_S = 20.0
"""How long the logs of other hosts are waited for."""
MOST_BYTES = 1 << 20
"""Of a longer log its end comes back."""


def log_of(started: Started) -> str:
    """Where a rank's log is, as a person finds it from the driver's host."""
    here = started.host == socket.gethostname()
    return started.log if here else f"{started.host}:{started.log}"


def elsewhere(started: Started, folder: Path) -> Iterator[Notice]:
    """Tell where a rank's log is, if that is not in the run's folder."""
    if started.log != str(folder / f"rank-{started.rank}.log"):
        why = f"{folder} cannot be made on {started.host}"
        yield Notice(f"log of rank {started.rank}: {log_of(started)} ({why})")


def fetch(ranks: Iterable[Started], folder: Path) -> None:
    """Bring the logs of ranks on other hosts into the run's folder, unless they share it.

    What cannot be reached stays where it is.
    """
    each = {(one.host, one.address, one.log): one for one in ranks}
    away = [one for one in each.values() if one.host != socket.gethostname()]
    if not away or not ray.is_initialized():
        return
    told(lambda: _fetch(away, folder), FETCH_S)


def _fetch(away: list[Started], folder: Path) -> None:
    mark = folder / f".shared-{uuid.uuid4().hex}"
    with suppress(OSError, RayError):
        mark.touch()
        try:
            nodes = [(one, node) for one in away if (node := node_of(one)) is not None]
            asked = {there(end_of, node).remote(one.log, str(mark)): one for one, node in nodes}
            come, _ = ray.wait(list(asked), num_returns=len(asked), timeout=FETCH_S)
            for promise in come:
                if (text := ray.get(promise)) is not None:
                    _written(folder, asked[promise]).write_bytes(text)
        finally:
            mark.unlink()


def end_of(log: str, mark: str) -> bytes | None:
    """The end of a log of this host; None if there is none, or if the driver has it, too.

    Parameters
    ----------
    log:
        The file.
    mark:
        A file that the driver has made in its own folder of logs.
    """
    if Path(mark).exists():
        return None
    try:
        with Path(log).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_BYTES))
            return file.read()
    except OSError:
        return None


def _written(folder: Path, rank: Started) -> Path:
    """The file for a rank's log; a rank that moved has one of each host."""
    file = folder / f"rank-{rank.rank}.log"
    return folder / f"rank-{rank.rank}.{rank.host}.log" if file.exists() else file

"""A run's record as files, one an epoch: what a later command goes on with.

Only the driver imports this module: pydantic is nothing that a worker needs.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from distlab.backends.base import Evaluation
from distlab.checkpoints.archive import DamagedError, packed, unpacked
from distlab.machine.devices.energy import DeviceWindow
from distlab.machine.load import CpuSeconds
from distlab.measure.clock import Window
from distlab.outcome.events import EpochDone, Evaluated, Ready, Started
from distlab.outcome.record import Record
from distlab.outcome.stretch import Stretch


@dataclass(frozen=True)
class _Part:
    """One rank's part of an epoch, but for its arrays."""

    window: Window
    evaluation: Evaluation
    cpu: CpuSeconds | None
    device: DeviceWindow | None = None
    inner: tuple[Evaluated, ...] = ()
    stopped: str | None = None


@dataclass(frozen=True)
class _Kept:
    """What a file holds beside the ranks' losses and samples."""

    epoch: int
    ranks: dict[int, _Part]
    stretch: int
    world_size: int
    first: int
    group: str | None
    group_run: int
    started: dict[int, Started]
    ready: dict[int, Ready]
    startup: dict[str, float]
    startup_s: float | None
    restarts: int
    recovery_s: float
    elapsed_s: float
    kept_out: list[str]


_KEPT = TypeAdapter(_Kept)


def encoded(record: Record, epoch: int) -> bytes:
    """What is known of an epoch that is complete, and of the run until its end."""
    parts, now = record.windows[epoch], record.stretches[-1]
    kept = _Kept(
        epoch=epoch,
        ranks={
            rank: _Part(*(one.window, one.evaluation, one.cpu, one.device, one.inner, one.stopped))
            for rank, one in parts.items()
        },
        stretch=len(record.stretches) - 1,
        world_size=now.world_size,
        first=now.first,
        group=now.group,
        group_run=now.group_run,
        started=now.started,
        ready=now.ready,
        startup=record.startup,
        startup_s=record.startup_s,
        restarts=record.restarts,
        recovery_s=record.recovery_s,
        elapsed_s=record.earlier_s + time.time() - record.command_time,
        kept_out=record.kept_out,
    )
    arrays: dict[str, NDArray[Any]] = {}
    for rank, one in parts.items():
        arrays |= {f"{rank}/losses": one.losses, f"{rank}/consumed": one.consumed}
    return packed(_KEPT.dump_python(kept, mode="json"), arrays)


def restore(record: Record, files: Iterable[bytes]) -> None:
    """Give a new record what files of epochs hold, of which there is one for each from the first.

    Raises
    ------
    DamagedError
        If one is not whole, or not the next.
    """
    found = []
    for number, data in enumerate(files):
        about, arrays = unpacked(data)
        try:
            kept = _KEPT.validate_python(about)
            if kept.epoch != number:
                raise DamagedError(f"epoch {kept.epoch + 1} where epoch {number + 1} should be")
            parts = {rank: _part(rank, kept, arrays) for rank in sorted(kept.ranks)}
            if sorted(parts) != list(range(kept.world_size)):
                raise DamagedError(f"{len(parts)} of {kept.world_size} ranks")
        except (ValidationError, KeyError, ValueError) as error:
            told = str(error).splitlines()[0]
            raise DamagedError(f"the record of epoch {number + 1}: {told}") from error
        found.append((kept, parts))
    for kept, parts in found:
        _put(record, kept, parts)


def _part(rank: int, kept: _Kept, arrays: Mapping[str, NDArray[Any]]) -> EpochDone:
    one = kept.ranks[rank]
    losses, consumed = arrays[f"{rank}/losses"], arrays[f"{rank}/consumed"]
    if (losses.dtype, losses.ndim) != (np.float32, 1) or len(consumed) != len(losses):
        raise DamagedError(f"losses and samples of rank {rank} are none")
    return EpochDone(
        *(rank, kept.epoch, one.window, losses, consumed, one.evaluation, one.cpu, one.device),
        *(one.inner, one.stopped),
    )


def _put(record: Record, kept: _Kept, parts: dict[int, EpochDone]) -> None:
    """One epoch into the record."""
    if kept.epoch == 0:
        record.stretches.clear()
    # A group that trained nothing which counts has left no file.
    while len(record.stretches) <= kept.stretch:
        record.stretches.append(Stretch(kept.world_size, kept.first, kept.group, kept.group_run))
    now = record.stretches[-1]
    now.started, now.ready = kept.started, kept.ready
    record.startup, record.startup_s = kept.startup, kept.startup_s
    record.restarts, record.recovery_s = kept.restarts, kept.recovery_s
    record.earlier_s, record.kept_out = kept.elapsed_s, kept.kept_out
    record.complete(parts)

"""The energy of a run's timed windows, for each sample."""

from collections.abc import Sequence
from typing import Any

from distlab.machine.devices.energy import LEAST_S, DeviceWindow
from distlab.outcome.stretch import Stretch


def told(stretches: Sequence[Stretch], samples: int, device: str) -> dict[str, Any]:
    """Energy as a summary holds it: null where it was not measured.

    On GPUs it is the sum over all ranks' GPUs; on CPUs over the processors of all hosts. It is
    not measured where a rank or a host doesn't tell it, nor in windows too short for the counter.

    Parameters
    ----------
    stretches:
        Those of the run.
    samples:
        Samples of all its epochs that count.
    device:
        ``cpu`` or ``gpu``.
    """
    nothing = {"energy_j_per_sample": None, "energy_meter": None}
    needed = [needs for stretch in stretches for needs in _needed(stretch, device)]
    meters = {one.meter for one in needed if one is not None}
    if not samples or not needed or None in needed or len(meters) != 1 or None in meters:
        return nothing
    windows = [one for one in needed if one is not None]
    (meter,) = meters
    joule = [one.energy_j for one in windows if one.energy_j is not None]
    mean = sum(one.seconds for one in windows) / sum(one.windows for one in windows)
    if len(joule) < len(windows) or mean < LEAST_S[str(meter)]:
        return nothing
    return {"energy_j_per_sample": sum(joule) / samples, "energy_meter": meter}


def _needed(stretch: Stretch, device: str) -> list[DeviceWindow | None]:
    """What must be known of a stretch: each rank's windows, on CPUs those of a host's first."""
    first: dict[str, int] = {}
    for rank, started in sorted(stretch.started.items()):
        first.setdefault(started.host, rank)
    ranks = set(first.values()) if device == "cpu" else set(stretch.started)
    return [
        parts[rank].device for parts in stretch.windows for rank in sorted(ranks) if rank in parts
    ]

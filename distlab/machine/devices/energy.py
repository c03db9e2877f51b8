"""What a rank's device takes while it is timed: energy, and a GPU's state at both ends.

Energy is read from counters: a GPU's own (NVML), and on CPUs that of the processors of a machine
(RAPL: ``/sys/class/powercap``, see the kernel's Documentation/power/powercap/powercap.rst), which
most systems let root alone read. RAPL's is of all that runs on the processors, without memory and
the rest of the machine; of a machine's ranks one reads it.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distlab.machine.devices.nvml import Gpu, GpuState

POWERCAP = Path("/sys/class/powercap")
LEAST_S = {"NVML": 1.0, "RAPL": 0.1}
"""Shortest window of which a counter tells the energy: a GPU's is renewed every 20 to 100 ms (Yang
et al. 2023, "Part-time Power Measurements: nvidia-smi's Lack of Attention"), RAPL's each ms."""


@dataclass(frozen=True)
class DeviceWindow:
    """What a rank's device did from shortly before a window until shortly after it.

    Windows one after the other add up.

    Attributes
    ----------
    seconds:
        How long that was.
    energy_j:
        Joule that the device took, or the machine's processors; None where no counter tells.
    meter:
        Whose counter: ``NVML`` or ``RAPL``.
    before, after:
        The GPU at both ends.
    busy_with_others:
        Share of the GPU's time that other processes had; the greatest of several windows.
    windows:
        How many windows these are.
    """

    seconds: float
    energy_j: float | None = None
    meter: str | None = None
    before: GpuState | None = None
    after: GpuState | None = None
    busy_with_others: float | None = None
    windows: int = 1

    def __add__(self, later: "DeviceWindow") -> "DeviceWindow":
        known = self.energy_j is not None and later.energy_j is not None
        shares = (self.busy_with_others, later.busy_with_others)
        return DeviceWindow(
            self.seconds + later.seconds,
            (self.energy_j or 0.0) + (later.energy_j or 0.0) if known else None,
            self.meter if self.meter == later.meter else None,
            self.before,
            later.after,
            max((share for share in shares if share is not None), default=None),
            self.windows + later.windows,
        )


@dataclass(frozen=True)
class Reading:
    """Counters at one moment."""

    at: float
    gpu: GpuState | None = None
    packages: Mapping[str, int] = field(default_factory=dict)


class Meter:
    """Reads what there is for a rank.

    Parameters
    ----------
    gpu:
        The rank's GPU, if it has one that NVML knows.
    processors:
        Whether it reads the energy of the machine's processors: one rank of a machine does, if the
        ranks compute there.
    root:
        Where the processors' counters are; tests have made-up ones.
    """

    def __init__(self, gpu: Gpu | None, processors: bool, root: Path = POWERCAP) -> None:
        self._gpu = gpu
        self._ranges = _packages(root, "max_energy_range_uj") if processors else {}
        self._root = root

    def now(self) -> Reading:
        """Read all counters."""
        packages = _packages(self._root, "energy_uj") if self._ranges else {}
        gpu = None if self._gpu is None else self._gpu.state()
        return Reading(time.perf_counter(), gpu, packages)

    def since(self, earlier: Reading) -> DeviceWindow:
        """What happened since an earlier reading."""
        now = self.now()
        seconds = now.at - earlier.at
        if self._gpu is not None and now.gpu is not None and earlier.gpu is not None:
            taken = None
            if now.gpu.energy_j is not None and earlier.gpu.energy_j is not None:
                taken = now.gpu.energy_j - earlier.gpu.energy_j
            others = self._gpu.busy_with_others(earlier.gpu.at)
            meter = None if taken is None else "NVML"
            return DeviceWindow(seconds, taken, meter, earlier.gpu, now.gpu, others)
        if not now.packages or now.packages.keys() != earlier.packages.keys():
            return DeviceWindow(seconds)
        taken = 0.0
        for name, value in now.packages.items():
            difference = value - earlier.packages[name]
            # The counter begins anew when it is full.
            taken += (difference + (self._ranges.get(name, 0) if difference < 0 else 0)) / 1e6
        return DeviceWindow(seconds, taken, "RAPL")


def _packages(root: Path, file: str) -> dict[str, int]:
    """A number of each processor's whole package, by the zone's name; empty if any is unreadable.

    ``intel-rapl:0`` is a package, on AMD too; ``intel-rapl:0:0`` a part of it.
    """
    found = {}
    try:
        for zone in sorted(root.glob("intel-rapl:*")):
            is_package = (zone / "name").read_text().startswith("package")
            if zone.name.count(":") == 1 and is_package and os.access(zone / file, os.R_OK):
                found[zone.name] = int((zone / file).read_text())
    except (OSError, ValueError):
        return {}
    return found

"""A GPU as NVML tells of it, by nvidia-ml-py where that is installed. Not yet run on a GPU.

What NVML doesn't know of a GPU (each call may say so) is None, and no error: not all of them have
all meters.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from distlab.errors import DistlabError

T = TypeVar("T")

REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
"""Why clocks are as low as they are: NVML's bits (nvml.h, nvmlClocksEventReasons)."""
SLOWED = {"hardware slowdown", "thermal slowdown", "hardware thermal slowdown", "power brake"}
"""Those that come from the surroundings; a power cap is the board's own, for all alike."""
THERMAL, POWER = 1, 0
"""NVML's counters of the time for which heat and the power cap held clocks down."""


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment.

    Attributes
    ----------
    at:
        Seconds since 1970.
    sm_mhz, memory_mhz, watts, celsius:
        Clock rates, power and temperature.
    busy:
        Share of the last moments in which a kernel ran on it.
    memory_bytes:
        Taken of its memory, by all processes.
    energy_j:
        What it has taken since its driver was loaded, in joule.
    reasons:
        Why its clocks are as they are, in words of :data:`REASONS`.
    thermal_s, power_s:
        For how long heat and the power cap have held its clocks down since then.
    others:
        Other processes that hold a context on it, idle ones too.
    """

    at: float
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    watts: float | None = None
    celsius: int | None = None
    busy: float | None = None
    memory_bytes: int | None = None
    energy_j: float | None = None
    reasons: tuple[str, ...] | None = None
    thermal_s: float | None = None
    power_s: float | None = None
    others: int | None = None


class Gpu:
    """One GPU, by NVML.

    Attributes
    ----------
    id:
        What ``CUDA_VISIBLE_DEVICES`` calls it: an index, ``GPU-...`` or ``MIG-...``.
    """

    def __init__(self, nvml: Any, name: str) -> None:
        self._nvml, self.id = nvml, name
        by_uuid = nvml.nvmlDeviceGetHandleByUUID
        handle = by_uuid(name) if not name.isdigit() else nvml.nvmlDeviceGetHandleByIndex(int(name))
        if name.startswith("MIG-"):
            handle = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        self._handle = handle

    @classmethod
    def visible(cls, environment: Mapping[str, str] | None = None) -> "Gpu | None":
        """The one GPU that this process sees; None where NVML or its package is not there."""
        named = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            return cls(pynvml, (named or "0").split(",")[0].strip() or "0")
        except pynvml.NVMLError:
            return None

    def _told(self, call: str, *arguments: Any, of: Callable[[Any], T]) -> T | None:
        """What a call of NVML says of this GPU, put into form; None where it doesn't know."""
        with suppress(self._nvml.NVMLError, AttributeError):
            return of(getattr(self._nvml, call)(self._handle, *arguments))
        return None

    def facts(self) -> dict[str, Any]:
        """What does not change while a process lives, as plain data."""
        mig = self._told("nvmlDeviceGetMigMode", of=lambda modes: bool(modes[0]))
        driver = None
        with suppress(self._nvml.NVMLError):
            driver = str(self._nvml.nvmlSystemGetDriverVersion())
        return {
            "id": self.id,
            "name": self._told("nvmlDeviceGetName", of=str),
            "uuid": self._told("nvmlDeviceGetUUID", of=str),
            "pci_address": self._told("nvmlDeviceGetPciInfo", of=lambda info: _text(info.busId)),
            "driver": driver,
            "mig": mig,
            "memory_bytes": self._told("nvmlDeviceGetMemoryInfo", of=lambda one: int(one.total)),
            "max_sm_mhz": self._told("nvmlDeviceGetMaxClockInfo", 1, of=int),
            "power_limit_w": self._told("nvmlDeviceGetEnforcedPowerLimit", of=_thousandths),
            "default_power_limit_w": self._told(
                "nvmlDeviceGetPowerManagementDefaultLimit", of=_thousandths
            ),
        }

    def state(self) -> GpuState:
        """The GPU at this moment; takes some milliseconds at most, outside of timed windows."""
        told = self._told
        return GpuState(
            at=time.time(),
            sm_mhz=told("nvmlDeviceGetClockInfo", 1, of=int),
            memory_mhz=told("nvmlDeviceGetClockInfo", 2, of=int),
            watts=told("nvmlDeviceGetPowerUsage", of=_thousandths),
            celsius=told("nvmlDeviceGetTemperature", 0, of=int),
            busy=told("nvmlDeviceGetUtilizationRates", of=lambda rates: rates.gpu / 100),
            memory_bytes=told("nvmlDeviceGetMemoryInfo", of=lambda one: int(one.used)),
            energy_j=told("nvmlDeviceGetTotalEnergyConsumption", of=_thousandths),
            reasons=told("nvmlDeviceGetCurrentClocksThrottleReasons", of=reasons),
            thermal_s=told("nvmlDeviceGetViolationStatus", THERMAL, of=_violated_s),
            power_s=told("nvmlDeviceGetViolationStatus", POWER, of=_violated_s),
            others=told("nvmlDeviceGetComputeRunningProcesses", of=_others),
        )

    def busy_with_others(self, since: float) -> float | None:
        """Share of its time that other processes had of late, by their samples since then.

        None where it isn't known: NVML sees other numbers of processes than a container does.
        """

        def share(samples: Any) -> float | None:
            own = [one for one in samples if one.pid == os.getpid()]
            others = [one.smUtil / 100 for one in samples if one.pid != os.getpid()]
            return min(1.0, sum(others)) if own or not others else None

        return self._told("nvmlDeviceGetProcessUtilization", int(since * 1e6), of=share)

    def near(self) -> set[int]:
        """The cores that are nearest to it; empty where it isn't known."""
        words = -(-(os.cpu_count() or 1) // 64)
        masks = self._told("nvmlDeviceGetCpuAffinity", words, of=list) or []
        return {
            64 * n + bit for n, mask in enumerate(masks) for bit in range(64) if mask >> bit & 1
        }


def refuse_slices(facts: Mapping[str, Any], world_size: int) -> None:
    """Refuse what a GPU that is cut into slices (MIG) can't do.

    Raises
    ------
    DistlabError
        If the slice is not named, for Ray counts whole GPUs, or if there are several ranks: NCCL
        refuses two of them on one GPU.
    """
    if not facts["mig"]:
        return
    sliced = f"{facts['name']} ({facts['pci_address']}) is cut into slices (MIG)"
    if world_size > 1:
        raise DistlabError(
            f"{world_size} workers with one GPU each",
            f"{sliced}, and NCCL refuses two ranks on one GPU",
            "gpus=1\nor turn MIG off, as root: nvidia-smi -mig 0",
        )
    if not str(facts["id"]).startswith("MIG-"):
        raise DistlabError(
            "a worker on a whole GPU",
            f"{sliced}, and none of them is named",
            "CUDA_VISIBLE_DEVICES=MIG-... {command}    (nvidia-smi -L lists the slices)",
        )


def reasons(bits: int) -> tuple[str, ...]:
    """The words of NVML's bits.

    >>> reasons(0x21)
    ('idle', 'thermal slowdown')
    """
    return tuple(word for bit, word in REASONS.items() if bits & bit)


def _others(processes: Any) -> int:
    """How many processes are not this one; a container's own process has another number here."""
    pids = {one.pid for one in processes}
    return len(pids - {os.getpid()}) - (bool(pids) and os.getpid() not in pids)


def _violated_s(status: Any) -> float:
    return float(status.violationTime) / 1e9


def _thousandths(value: Any) -> float:
    return float(value) / 1000


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

"""NVML as nvidia-ml-py has it, with one made-up GPU, for machines without any."""

import os
from types import SimpleNamespace
from typing import Any


class FakeNvml:
    """A module ``pynvml`` whose GPU's figures are attributes; what is None raises ``NVMLError``.

    ``states`` are figures that hold from one reading of the clock rate to the next.
    """

    class NVMLError(Exception):
        pass

    def __init__(self, **figures: Any) -> None:
        self.figures: dict[str, Any] = {
            "uuid": "GPU-1",
            "mig": 0,
            "energy_j": 1000.0,
            "reasons": 0x1,
            "thermal_s": 0.0,
            "power_s": 0.0,
            "watts": 71.0,
            "cpus": 0b11,
            "processes": [os.getpid()],
            "samples": [],
            **figures,
        }
        self.asked: list[Any] = []

    def _of(self, name: str) -> Any:
        value = self.figures[name]
        if value is None:
            raise self.NVMLError(name)
        return value

    def nvmlInit(self) -> None:  # noqa: N802
        if self.figures.get("broken"):
            raise self.NVMLError("driver not loaded")

    def __getattr__(self, call: str) -> Any:
        """Each other function: what it is asked for, and its answer."""
        answers = {
            "nvmlSystemGetDriverVersion": lambda: "580.65.06",
            "nvmlDeviceGetHandleByIndex": lambda index: self._handle(index),
            "nvmlDeviceGetHandleByUUID": lambda uuid: self._handle(uuid),
            "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda _: "the whole GPU",
            "nvmlDeviceGetName": lambda _: "NVIDIA Abacus",
            "nvmlDeviceGetUUID": lambda _: self._of("uuid"),
            "nvmlDeviceGetPciInfo": lambda _: SimpleNamespace(busId=b"00000000:17:00.0"),
            "nvmlDeviceGetMigMode": lambda _: [self._of("mig"), 0],
            "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=2**36, used=2**30),
            "nvmlDeviceGetMaxClockInfo": lambda _, kind: 1980,
            "nvmlDeviceGetClockInfo": lambda _, kind: {1: 1755, 2: 2619}[kind],
            "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700_000,
            "nvmlDeviceGetPowerManagementDefaultLimit": lambda _: 700_000,
            "nvmlDeviceGetPowerUsage": lambda _: int(1000 * self._of("watts")),
            "nvmlDeviceGetTemperature": lambda _, sensor: 41,
            "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=93),
            "nvmlDeviceGetTotalEnergyConsumption": lambda _: int(1000 * self._of("energy_j")),
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: self._of("reasons"),
            "nvmlDeviceGetViolationStatus": lambda _, policy: SimpleNamespace(
                violationTime=int(1e9 * self._of({0: "power_s", 1: "thermal_s"}[policy]))
            ),
            "nvmlDeviceGetComputeRunningProcesses": lambda _: [
                SimpleNamespace(pid=pid) for pid in self._of("processes")
            ],
            "nvmlDeviceGetProcessUtilization": lambda _, since: [
                SimpleNamespace(pid=pid, smUtil=busy) for pid, busy in self._of("samples")
            ],
            "nvmlDeviceGetCpuAffinity": lambda _, words: [self._of("cpus")] + [0] * (words - 1),
        }
        if call not in answers:
            raise AttributeError(call)
        return answers[call]

    def _handle(self, name: Any) -> str:
        self.asked.append(name)
        return "a handle"

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from fake_nvml import FakeNvml

from distlab.errors import DistlabError
from distlab.machine.devices.nvml import Gpu, refuse_slices


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeNvml]:
    def installed(**figures: Any) -> FakeNvml:
        made = FakeNvml(**figures)
        monkeypatch.setitem(sys.modules, "pynvml", made)  # type: ignore[arg-type]
        return made

    return installed


def visible(named: str = "0") -> Gpu:
    found = Gpu.visible({"CUDA_VISIBLE_DEVICES": named})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("named", "asked"), [("2", 2), ("GPU-1f", "GPU-1f"), ("MIG-7", "MIG-7"), ("", 0), ("3,1", 3)]
)
def test_the_gpu_is_the_one_that_the_process_sees(nvml: Any, named: str, asked: Any) -> None:
    found = nvml()
    assert visible(named).id == str(asked)
    assert found.asked == [asked]


def test_without_a_driver_or_the_package_there_is_no_gpu(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml(broken=True)
    assert Gpu.visible({}) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpu.visible({}) is None


def test_what_is_known_of_a_gpu_is_plain_data(nvml: Any) -> None:
    nvml()
    assert visible().facts() == {
        "id": "0",
        "name": "NVIDIA Abacus",
        "uuid": "GPU-1",
        "pci_address": "00000000:17:00.0",
        "driver": "580.65.06",
        "mig": False,
        "memory_bytes": 2**36,
        "max_sm_mhz": 1980,
        "power_limit_w": 700.0,
        "default_power_limit_w": 700.0,
    }


def test_a_state_holds_clocks_power_and_why_they_are_so(nvml: Any) -> None:
    nvml(reasons=0x20 | 0x4, thermal_s=1.5, energy_j=12.5)
    state = visible().state()
    assert (state.sm_mhz, state.memory_mhz, state.watts, state.celsius) == (1755, 2619, 71.0, 41)
    assert (state.busy, state.memory_bytes, state.energy_j) == (0.93, 2**30, 12.5)
    assert state.reasons == ("power cap", "thermal slowdown")
    assert (state.thermal_s, state.power_s, state.others) == (1.5, 0.0, 0)


def test_what_a_gpu_has_no_meter_for_is_none(nvml: Any) -> None:
    nvml(energy_j=None, reasons=None, thermal_s=None, processes=None, mig=None, samples=None)
    gpu = visible()
    state = gpu.state()
    unknown = (state.energy_j, state.reasons, state.thermal_s, state.others)
    assert unknown == (None,) * 4 and state.sm_mhz == 1755
    assert gpu.facts()["mig"] is None and gpu.busy_with_others(0.0) is None


@pytest.mark.parametrize(
    ("processes", "others"), [([], 0), ([0], 0), ([0, 11], 1), ([0, 11, 12], 2), ([11, 12], 1)]
)
def test_other_processes_are_counted_without_this_one(
    nvml: Any, processes: list[int], others: int
) -> None:
    """0 is this process; in a container NVML has other numbers for all of them."""
    nvml(processes=[pid or os.getpid() for pid in processes])
    assert visible().state().others == others


@pytest.mark.parametrize(
    ("samples", "share"),
    [([], 0.0), ([(0, 90)], 0.0), ([(0, 60), (11, 30)], 0.3), ([(11, 30)], None)],
)
def test_how_busy_others_kept_it_is_told_where_this_process_is_known(
    nvml: Any, samples: list[tuple[int, int]], share: float | None
) -> None:
    nvml(samples=[(pid or os.getpid(), busy) for pid, busy in samples])
    assert visible().busy_with_others(0.0) == share


def test_the_nearest_cores_are_the_bits_of_nvmls_mask(nvml: Any) -> None:
    nvml(cpus=0b1010)
    assert visible().near() == {1, 3}
    nvml(cpus=None)
    assert visible().near() == set()


def test_a_slice_of_a_gpu_must_be_named_and_serves_one_worker(nvml: Any) -> None:
    nvml(mig=1)
    with pytest.raises(DistlabError, match=r"CUDA_VISIBLE_DEVICES=MIG-\.\.\. \{command\}"):
        refuse_slices(visible("0").facts(), 1)
    with pytest.raises(DistlabError, match="NCCL refuses two ranks on one GPU"):
        refuse_slices(visible("MIG-1").facts(), 2)
    refuse_slices(visible("MIG-1").facts(), 1)
    nvml(mig=None)
    refuse_slices(visible("0").facts(), 2)

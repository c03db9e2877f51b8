from dataclasses import replace
from typing import Any

import pytest
from fake_nvml import FakeNvml

from distlab.machine.devices.energy import DeviceWindow
from distlab.machine.devices.nvml import Gpu, GpuState
from distlab.measure.clock import Window
from distlab.outcome.caveats import Code
from distlab.outcome.devices import energy, gpus
from distlab.outcome.events import EpochDone, Ready, Started
from distlab.outcome.run_fields import Gpu as Told
from distlab.outcome.stretch import Stretch

FACTS = Gpu(FakeNvml(), "0").facts()
IDLE = GpuState(
    0.0, sm_mhz=345, celsius=40, reasons=("idle",), thermal_s=7.0, power_s=1.0, others=1
)
BUSY = replace(IDLE, sm_mhz=1755, celsius=61, reasons=())


def stretch(
    *devices: DeviceWindow | None, seconds: float = 2.0, ranks: int = 1, facts: Any = FACTS
) -> Stretch:
    """Epochs of so many seconds, in each of which all ranks' devices did the same."""
    told = {} if facts is None else {"gpu": facts}
    epoch: Any = {"losses": None, "consumed": None, "evaluation": None}
    return Stretch(
        ranks,
        started={rank: Started(rank, f"host{rank}", 1) for rank in range(ranks)},
        ready={rank: Ready(rank, "", 0.0, told, {}) for rank in range(ranks)},
        windows=[
            {
                rank: EpochDone(rank, n, Window(seconds, ()), **epoch, device=device)
                for rank in range(ranks)
            }
            for n, device in enumerate(devices)
        ],
    )


def window(after: GpuState = BUSY, **values: Any) -> DeviceWindow:
    return DeviceWindow(2.0, **{"before": IDLE, "after": after, **values})


def codes(one: Stretch) -> list[Code]:
    return [caveat.code for caveat in gpus.caveats([one], "gpu")]


def test_a_gpu_that_ran_freely_has_no_caveat() -> None:
    assert codes(stretch(window(), window())) == []


@pytest.mark.parametrize(
    "after",
    [
        replace(BUSY, reasons=("hardware slowdown",)),
        replace(BUSY, reasons=("power brake",)),
        replace(BUSY, reasons=("thermal slowdown", "power cap")),
        replace(BUSY, thermal_s=7.1),  # 0.1 s of 4
    ],
)
def test_a_gpu_that_heat_or_the_supply_slowed_is_never_ranked(after: GpuState) -> None:
    found = codes(stretch(window(after), window()))
    assert found[0] is Code.throttled and not found[0].ranked


def test_a_power_cap_is_told_and_counts() -> None:
    capped = stretch(window(replace(BUSY, power_s=1.5)))
    (found,) = gpus.caveats([capped], "gpu")
    assert found.code is Code.power_capped and found.code.ranked
    assert found.detail == ("NVIDIA Abacus 00000000:17:00.0 of host0: its power cap of 700 W")


def test_a_gpu_that_others_kept_busy_is_too_noisy() -> None:
    (found,) = gpus.caveats([stretch(window(busy_with_others=0.4))], "gpu")
    assert found.code is Code.noisy and "40% of the time" in found.detail
    assert codes(stretch(window(busy_with_others=0.04))) == []


def test_epochs_of_less_than_a_second_on_a_gpu_are_told() -> None:
    (found,) = gpus.caveats([stretch(None, seconds=0.033, facts=None)], "gpu")
    assert str(found) == "short epochs (an epoch takes 33 ms)" and found.code.ranked
    assert gpus.caveats([stretch(None, seconds=0.033, facts=None)], "cpu") == []
    assert gpus.caveats([stretch(None, seconds=1.5, facts=None)], "gpu") == []


def test_the_record_holds_what_nvml_told_of_each_ranks_gpu() -> None:
    hot = replace(BUSY, reasons=("power cap",), power_s=1.25)
    first, second = gpus.told(
        [stretch(window(hot, energy_j=600.0), window(energy_j=200.0), ranks=2)]
    )
    assert Told.model_validate(first) and second["host"] == "host1"
    figures = {
        name: first[name] for name in ("sm_mhz_low", "sm_mhz_high", "celsius_high", "mean_w")
    }
    assert figures == {"sm_mhz_low": 345, "sm_mhz_high": 1755, "celsius_high": 61, "mean_w": 200.0}
    assert first["clock_reasons"] == ["idle", "power cap"]
    assert (first["power_capped_s"], first["thermal_s"]) == (0.25, 0.0)
    assert (first["other_processes"], first["busy_with_others"]) == (1, None)


def test_without_nvml_nothing_is_told() -> None:
    assert gpus.told([stretch(None, facts=None)]) == []
    (unknown,) = gpus.told([stretch(None)])
    assert Told.model_validate(unknown).mean_w is None


def meter(joule: float | None, kind: str | None = "NVML", seconds: float = 2.0) -> DeviceWindow:
    return DeviceWindow(seconds, joule, kind)


def test_energy_is_that_of_all_ranks_gpus_for_each_sample() -> None:
    found = energy.told([stretch(meter(30.0), meter(20.0), ranks=2)], 1000, "gpu")
    assert found == {"energy_j_per_sample": pytest.approx(0.1), "energy_meter": "NVML"}


def test_on_cpus_it_is_that_of_each_hosts_processors_once() -> None:
    one = stretch(meter(30.0, "RAPL"), ranks=2)
    one.started[1] = Started(1, "host0", 2)  # beside rank 0, and tells nothing
    one.windows[0][1] = replace(one.windows[0][1], device=DeviceWindow(2.0))
    found = energy.told([one], 300, "cpu")
    assert found == {"energy_j_per_sample": pytest.approx(0.1), "energy_meter": "RAPL"}


@pytest.mark.parametrize(
    "windows",
    [
        (),
        (None,),
        (meter(1.0), None),
        (meter(None, None),),
        (meter(1.0), meter(None, None)),
        (meter(1.0), meter(1.0, "RAPL")),
        (meter(1.0, seconds=0.5),),
        (meter(1.0, "RAPL", seconds=0.05),),
    ],
)
def test_energy_that_is_not_known_whole_is_not_measured(windows: Any) -> None:
    found = energy.told([stretch(*windows)], 100, "gpu")
    assert found == {"energy_j_per_sample": None, "energy_meter": None}

"""Runs on GPUs as NVML would tell of them, in a report. Not yet seen on a GPU."""

from typing import Any

from fake_nvml import FakeNvml
from studies import study

from distlab.machine.devices.energy import Meter
from distlab.machine.devices.nvml import Gpu
from distlab.measure.clock import Window
from distlab.outcome.devices import energy, gpus
from distlab.outcome.events import EpochDone, Ready, Started
from distlab.outcome.stretch import Stretch
from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups
from distlab.report.formats import markdown

EPOCH_S, SAMPLES = 2.0, 60_000


def measured(**grown: float) -> dict[str, Any]:
    """What an epoch on a GPU leaves in a run's record, in which NVML's counters grow so."""
    nvml = FakeNvml(reasons=0)
    gpu = Gpu(nvml, "0")
    meter = Meter(gpu, processors=False)
    before = meter.now()
    for name, by in grown.items():
        nvml.figures[name] += by
    window = meter.since(before)
    window = type(window)(**{**vars(window), "seconds": EPOCH_S})
    unused: Any = {"losses": None, "consumed": None, "evaluation": None}
    epoch = EpochDone(0, 0, Window(EPOCH_S, ()), **unused, device=window)
    stretch = Stretch(
        1,
        started={0: Started(0, "here", 1)},
        ready={0: Ready(0, "", 0.0, {"gpu": gpu.facts()}, {})},
        windows=[{0: epoch}],
    )
    told = gpus.caveats([stretch], "gpu")
    return {
        "gpus": gpus.told([stretch]),
        **energy.told([stretch], SAMPLES, "gpu"),
        "caveats": [{"code": one.code, "detail": one.detail} for one in told],
    }


def reported(**of: dict[str, Any]) -> str:
    """A report of runs on one GPU, by framework, of which torch's are the fastest."""
    given = study(
        models=["mlp"],
        scalings=["weak"],
        world_sizes=[1],
        frameworks=list(of),
        slower={"tf": 3.0},
        values={"device": "gpu", "device_name": "NVIDIA Abacus"},
    )
    for run in given["runs"]:
        run |= of[run["framework"]]
        if run["framework"] == "torch":
            libraries = {"cudnn": "9.10.2", "nccl": "2.27.3"}
            run["resources"] = {**run["resources"], "nvidia_libraries": libraries}
    found = cells(given)
    assert [cell for group in groups(found) for cell in group.ranked]
    return markdown.document(contents(given, found, []))


def test_the_fastest_is_not_ranked_if_heat_slowed_its_gpu_and_a_power_cap_is_no_reason() -> None:
    slowed = measured(energy_j=600.0, thermal_s=0.5)
    capped = measured(energy_j=300.0, power_s=1.0)
    text = reported(torch=slowed, tf=capped)
    assert (
        "torch eager, 1 GPU worker (mlp, weak scaling, batch 64) is not ranked: none of 5" in text
    )
    assert "NVIDIA Abacus 00000000:17:00.0 of here: by heat for 25% of the time" in text
    assert "5 of 5 runs that count: power-capped" in text and "its power cap of 700 W" in text
    assert "- energy: 5 mJ a sample: tf graph mlp, 1 worker (NVML)\n" in text
    assert "- NVIDIA libraries: torch: cudnn 9.10.2, nccl 2.27.3\n" in text
    assert "- which GPUs: GPU-1\n- NVIDIA driver: 580.65.06\n" in text


def test_without_nvml_energy_is_not_measured_and_all_are_ranked() -> None:
    text = reported(torch={}, tf={})
    assert "is not ranked" not in text and "throttled" not in text
    assert "On 1 GPU worker torch eager is the fastest" in text
    assert "- energy: not measured\n" in text
    assert "- which GPUs: not told: nvidia-ml-py is not installed\n" in text

"""What the loop does on a GPU, imitated by threads on a CPU. Not yet run on a GPU."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_nvml import FakeNvml
from thread_backend import ThreadBackend, World, train

from distlab.data.dataset import Dataset
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.outcome.caveats import counts
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised
from distlab.worker import probes

STRONG = ("scaling=strong", "batch_size=4", "seed=3", "measure_exchange=false")


def on_gpu(one: Experiment) -> Experiment:
    return replace(one, device="gpu")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A GPU that NVML knows; its cores are all of this machine's."""
    fake = FakeNvml(cpus=None)
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(ThreadBackend, "gpus_seen", classmethod(lambda cls: 1))
    return fake


def test_on_a_gpu_each_run_is_warmed_up_by_products_and_its_memory_counted_after_that(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    world: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
    nvml: FakeNvml,
) -> None:
    for name in ("matrix_product_rates", "peak_device_memory"):
        original = getattr(ThreadBackend, name)

        def logged(self: Any, name: str = name, original: Any = original) -> Any:
            self._log(name)
            return original(self)

        monkeypatch.setattr(ThreadBackend, name, logged)
    train(on_gpu(experiment(*STRONG, "epochs=1")), dataset, runs=2)
    calls = [call for call, _ in World.current.calls[0]]
    assert calls.count("matrix_product_rates") == 2
    first = calls.index("peak_device_memory")
    # After all steps of the warm-up, and before the first one that counts.
    assert calls[:first].count("train") == 2 + probes.GPU_WARM_UP_SPANS + 1
    assert "evaluate" not in calls[:first]


def test_a_gpu_that_was_slowed_by_heat_is_in_the_record_and_keeps_the_run_out(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    world: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
    nvml: FakeNvml,
) -> None:
    trained = ThreadBackend.train

    def heated(self: Any, indices: Any, rates: Any = None) -> Any:
        nvml.figures["thermal_s"] += 1.0
        nvml.figures["energy_j"] += 5.0
        return trained(self, indices, rates)

    monkeypatch.setattr(ThreadBackend, "train", heated)
    one = on_gpu(experiment(*STRONG, "epochs=2"))
    record = Record(one, dataset, 0.0)
    for event in train(one, dataset):
        record.add(event)
    found = summarised(record)
    (gpu,) = found["gpus"]
    assert (gpu["uuid"], gpu["driver"], gpu["thermal_s"]) == ("GPU-1", "580.65.06", 2.0)
    assert [caveat["code"] for caveat in found["caveats"]][:1] == ["throttled"]
    assert not counts({**found, "verified": True})
    assert found["resources"]["nvidia_libraries"] == {}
    # Of windows that are shorter than the counter's steps nothing is told.
    assert found["energy_j_per_sample"] is None


@pytest.mark.parametrize(("seen", "refused"), [(1, False), (None, False), (8, True), (0, True)])
def test_a_worker_sees_one_gpu_and_no_other(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    world: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
    seen: int | None,
    refused: bool,
) -> None:
    monkeypatch.setattr(ThreadBackend, "gpus_seen", classmethod(lambda cls: seen))
    one = on_gpu(experiment(*STRONG, "epochs=1"))
    if refused:
        with pytest.raises(DistlabError, match=f"threads sees {seen} GPUs in the process of rank"):
            train(one, dataset)
    else:
        assert train(one, dataset)

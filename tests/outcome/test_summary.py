import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from told import STEPS, begun, fill, part, ready

from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment
from distlab.machine.load import CpuSeconds
from distlab.outcome.events import (
    Begun,
    EpochDone,
    ExchangeWindows,
    Finished,
    Started,
)
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised


def test_summary_holds_the_runs_figures(record: Record) -> None:
    summary = fill(record)
    assert summary["epoch_time_s"] == [2.0, 4.0]
    # 2 epochs of 124 samples in 2 s and 4 s: over the sum, not a mean of 62 and 31.
    assert summary["throughput_samples_per_s"] == pytest.approx(248 / 6)
    assert summary["train_loss"] == [1.5, 0.5]
    assert summary["test_loss"] == [2.0, 2.0]
    assert summary["test_accuracy"] == [8 / 23, 14 / 23]
    assert summary["time_to_accuracy_s"] == 6.0
    assert summary["first_losses"] == [1.5] * 10
    assert summary["steps_per_epoch"] == STEPS
    assert summary["global_batch_size"] == 4
    assert summary["evaluated_samples"] == 23
    assert summary["weights_sha256"] == "a" * 64
    assert summary["final_weights_sha256"] == "b" * 64
    assert summary["peak_memory_bytes"] == 30_000
    assert summary["peak_device_memory_bytes"] is None
    assert summary["compile_s"] == 2.5
    assert summary["parameters"] == 89_610
    assert summary["framework_version"] == "1.2"
    assert summary["world_size"] == 2
    assert summary["precision"] == "fp32"
    # Windows of rank 1, the slower one.
    assert summary["step_time_ms"]["mean"] == pytest.approx(6000 / (2 * STEPS))


def test_the_peak_of_device_memory_is_the_greatest_that_is_known(record: Record) -> None:
    fill(record)
    for rank, peak in ((0, 7_000), (1, None)):
        record.finished[rank] = replace(record.finished[rank], peak_device_memory_bytes=peak)
    assert summarised(record)["peak_device_memory_bytes"] == 7_000


def test_start_up_is_split_by_the_slowest_rank_without_counting_compilation_twice(
    record: Record,
) -> None:
    summary = fill(record)
    split = summary["startup_split_s"]
    assert (split["worker_build"], split["worker_warm_up"]) == (3.0, 4.0)
    assert "worker_compile" not in split
    assert summary["startup_s"] > 0


def test_summary_is_json(record: Record) -> None:
    assert json.loads(json.dumps(fill(record)))["framework"] == "torch"


def test_summary_of_a_run_that_never_got_ready(record: Record) -> None:
    summary = summarised(record)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["throughput_samples_per_s"] is None
    assert summary["epoch_time_s"] == []
    assert summary["first_losses"] == []
    assert record.final_weights is None


def test_communication_is_what_goes_away_on_the_slowest_rank(record: Record) -> None:
    on_and_off = (
        ExchangeWindows((1.0, 2.0, 9.0), (1.0, 1.0, 1.0)),
        ExchangeWindows((4.0, 1.0, 1.0), (0.5, 3.0, 0.5)),
    )
    assert summarised(record)["communication_share"] is None
    for rank, exchange in enumerate(on_and_off):
        record.add(Finished(rank, "b" * 64, 1, None, exchange))
    # Slowest with: 4, 2, 9, median 4; slowest without: 1, 3, 1, median 1.
    told = summarised(record)
    assert told["communication_share"] == 0.75
    assert (told["communication_share_low"], told["communication_share_high"]) == (None, None)


def test_utilisation_is_of_what_all_ranks_could_do_together(record: Record) -> None:
    for rank, rate in ((0, 3e9), (1, 5e9)):
        told = ready(rank)
        told.resources["matrix_product_flops_per_s"] = rate
        told.resources["matrix_product_library"] = f"library {rank}"
        record.add(told)
    for rank in range(2):
        record.add(part(rank, 0, 2.0, 1.0, 1))
    summary = summarised(record)
    assert summary["matrix_product_flops_per_s"] == 8e9
    assert summary["matrix_product_library"] == "library 0"
    flops = record.experiment.spec.training_flops
    assert summary["model_flop_utilisation"] == pytest.approx(flops * 62 / 8e9)


def test_without_a_measured_rate_of_every_rank_there_is_no_utilisation(record: Record) -> None:
    for rank in range(2):
        record.add(part(rank, 0, 2.0, 1.0, 1))
    first = ready(0)
    first.resources["matrix_product_flops_per_s"] = 3e9
    record.add(first)
    record.add(ready(1))
    summary = summarised(record)
    assert summary["matrix_product_flops_per_s"] is None
    assert summary["model_flop_utilisation"] is None


def loaded(record: Record, hosts: tuple[str, str], busy: float) -> dict[str, Any]:
    """The load of a run on two ranks, each of which worked for 0.9 s of every second."""
    for rank in range(2):
        record.add(Started(rank, hosts[rank], 100 + rank))
        told = ready(rank)
        told.resources["cores"] = {"allowed": [0, 1, 2, 3]}
        record.add(told)
        for epoch in range(2):
            done = part(rank, epoch, 10.0, 1.0, 1)
            cpu = CpuSeconds(10.0, 9.0, busy, 0.0)
            fields = {**vars(done), "cpu": cpu}
            record.add(EpochDone(**fields))
    return dict(summarised(record)["load"])


def test_the_load_of_one_machine_is_that_of_its_ranks_together(record: Record) -> None:
    found = loaded(record, ("here", "here"), 20.0)
    assert found["own_cores"] == pytest.approx(1.8)
    assert found["other_cores"] == pytest.approx(0.2)
    assert (found["cores"], found["too_noisy"]) == (4, None)


def test_the_load_of_two_machines_is_that_of_the_noisier(record: Record) -> None:
    found = loaded(record, ("here", "there"), 45.0)
    assert found["own_cores"] == pytest.approx(0.9)
    assert found["other_cores"] == pytest.approx(3.6)
    assert "3 of 4 were free" in found["too_noisy"]


def test_the_load_of_a_machine_is_told_once_of_workers_before_and_after_a_failure(
    record: Record,
) -> None:
    loaded(record, ("here", "here"), 45.0)
    record.add(Begun("h", 0, 2, 1, "worker 1 on here died"))
    found = loaded(record, ("here", "here"), 45.0)
    assert found["own_cores"] == pytest.approx(1.8)
    codes = [one["code"] for one in summarised(record)["caveats"]]
    assert codes == ["noisy", "restarted"]


def test_where_each_rank_was_is_told_and_two_hosts_of_one_name_are_two(record: Record) -> None:
    record.nodes = 3
    for rank, (host, address) in enumerate([("node", "10.0.0.1"), ("node", "10.0.0.2")]):
        record.add(Started(rank, host, 7, f"/logs/rank-{rank}.log", address))
        told = ready(rank)
        told.resources.update(interface="eth0", numpy_version="2.3")
        record.add(told)
    summary = summarised(record)
    assert summary["stretches"][0]["hosts"] == ["node", "node"]
    assert (summary["placement"], summary["nodes"]) == ("pack", 3)
    assert summary["ranks"][1] == {
        "rank": 1,
        "host": "node",
        "address": "10.0.0.2",
        "interface": "eth0",
        "device_name": "abacus",
        "framework_version": "1.2",
        "python_version": None,
        "numpy_version": "2.3",
        "distlab_version": None,
        "log": "/logs/rank-1.log",
    }
    assert len(record.hosts) == 2
    assert record.stretches[-1].told() == "ranks 0 on node, 1 on node"


def test_ranks_that_share_a_host_are_told_together(record: Record) -> None:
    begun(record)
    assert record.stretches[-1].told() == "ranks 0 and 1 on here"


def test_without_cpu_times_there_is_no_load(record: Record) -> None:
    assert fill(record)["load"] is None


def test_a_repeat_has_its_own_seed_and_says_how_often_its_workers_have_run(
    experiment: Callable[..., Experiment], dataset: Dataset
) -> None:
    one = replace(experiment("seed=5"), repeat=3)
    record = Record(one, dataset, 0.0)
    record.add(Begun("g", 2, 1))
    summary = summarised(record)
    told = {name: summary[name] for name in ("seed", "repeat", "run_seed", "group_run")}
    assert told == {"seed": 5, "repeat": 3, "run_seed": 8, "group_run": 2}


def test_each_number_of_workers_has_figures_of_its_own(record: Record) -> None:
    assert record.experiment.world_size == 2
    record.add(Begun("one", 0, 2))
    for epoch in range(2):
        for rank in range(2):
            record.add(part(rank, epoch, 2.0, 1.0, 3))
    # Room for more: nothing failed, and the second epoch's state was lost on the way.
    record.add(Begun("two", 0, 4, epoch=1, failed=1.0))
    for rank in range(4):
        record.add(part(rank, 1, 1.25, 1.0, 3, of=4))
    found = summarised(record)
    assert [one["world_size"] for one in found["stretches"]] == [2, 4]
    assert found["world_size"] == 4 and found["restarts"] == 0
    two, four = found["sizes"]
    assert (two["world_size"], two["epochs"], two["efficiency"]) == (2, 1, None)
    assert (four["world_size"], four["epochs"]) == (4, 1)
    assert four["throughput_samples_per_s"] / two["throughput_samples_per_s"] == pytest.approx(1.6)
    assert four["efficiency"] == pytest.approx(0.8)
    assert {"code": "resized", "detail": "epochs on 2 and 4 workers"} in found["caveats"]


def test_of_noise_no_accuracy_is_told(record: Record) -> None:
    noise = replace(record.dataset, learnable=False)
    summary = fill(Record(record.experiment, noise, 0.0))
    assert summary["test_accuracy"] == [None, None]
    assert summary["time_to_accuracy_s"] is None
    assert summary["test_loss"] == [2.0, 2.0]

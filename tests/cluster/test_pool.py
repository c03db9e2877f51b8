from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray

from distlab.cluster import pool
from distlab.cluster.pool import Jobs, group_key
from distlab.cluster.worker_environment import tf32
from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.options import Precision

Of = Callable[..., Experiment]


@pytest.fixture
def on_gpu(experiment: Of) -> Of:
    """Experiments on a machine with 4 GPUs."""

    def resolved(*overrides: str) -> Experiment:
        options = experiment(*overrides).options
        options.device = type(options.device).gpu
        return resolve(options, gpus_present=4)

    return resolved


class Group:
    """A group of no processes; its closing frees the places that it occupies."""

    def __init__(self, machine: "Machine", experiment: Experiment) -> None:
        self._machine = machine
        self.gpus = experiment.world_size * (experiment.device == "gpu")
        self.cpus = experiment.world_size * experiment.options.threads_per_worker
        self.closed: bool | None = None
        self.dead = False

    def alive(self) -> bool:
        return not self.dead

    def close(self, wait: bool = False) -> None:
        self.closed = wait
        self._machine.groups.remove(self)


class Machine:
    """4 GPUs and 8 CPUs of Ray's, 80 GB, and the groups that occupy them, 2 GB each."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.gigabytes = 80

    def memory(self) -> Any:
        total = self.gigabytes
        return SimpleNamespace(total=total, available=total - 2 * len(self.groups))

    def start(self, experiment: Experiment, data: Any) -> Any:
        group = Group(self, experiment)
        self.groups.append(group)
        return group

    def available(self) -> dict[str, float]:
        # Ray leaves out what there is none of.
        gpus = 4 - sum(group.gpus for group in self.groups)
        cpus = 8 - sum(group.cpus for group in self.groups)
        return {name: n for name, n in (("GPU", gpus), ("CPU", cpus)) if n > 0}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine()
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "available_resources", one.available)
    monkeypatch.setattr(psutil, "virtual_memory", one.memory)
    monkeypatch.setattr(pool, "ROOM_S", 0.2)
    return one


@pytest.fixture
def workers(machine: Machine, dataset: Dataset) -> Any:
    jobs = Jobs(machine.start)

    def given(experiment: Experiment, data: Dataset = dataset) -> Any:
        return jobs.workers(experiment, data)

    given.jobs = jobs  # type: ignore[attr-defined]
    return given


@pytest.mark.parametrize(
    "override",
    [
        "model=lenet5",
        "execution=graph",
        "precision=bf16",
        "epochs=3",
        "seed=5",
        "batch_size=32",
        "scaling=strong",
        "learning_rate=0.1",
        "optimizer.variant=stock",
        "target_accuracy=0.5",
        "measure_exchange=false",
        "repeats=3",
    ],
)
def test_experiments_that_differ_in_the_task_share_workers(
    experiment: Of, dataset: Dataset, override: str
) -> None:
    assert group_key(experiment(override), dataset) == group_key(experiment(), dataset)


@pytest.mark.parametrize(
    "override",
    [
        "framework=tf",
        "gpus=2",
        "threads_per_worker=2",
        "+framework.env.A=1",
        "framework.runtime_env={pip: [numpy]}",
    ],
)
def test_experiments_that_differ_in_the_process_do_not(
    experiment: Of, dataset: Dataset, override: str
) -> None:
    assert group_key(experiment(override), dataset) != group_key(experiment(), dataset)


def test_tf32_has_processes_of_its_own_where_it_is_not_forbidden(
    on_gpu: Of, dataset: Dataset
) -> None:
    rounded, plain = on_gpu("gpus=1"), on_gpu("gpus=1")
    rounded.options.precision = Precision.tf32
    assert group_key(rounded, dataset) != group_key(plain, dataset)
    assert tf32(Precision.tf32) == {}
    for precision in (Precision.fp32, Precision.bf16):
        assert tf32(precision) == {"NVIDIA_TF32_OVERRIDE": "0"}


def test_other_devices_and_other_data_need_other_workers(
    experiment: Of, on_gpu: Of, dataset: Dataset
) -> None:
    other = replace(dataset, checksum="1" * 64)
    keys = {
        group_key(experiment("gpus=1"), dataset),
        group_key(experiment("gpus=1"), other),
        group_key(on_gpu("gpus=1"), dataset),
    }
    assert len(keys) == 3


def test_workers_are_used_again(workers: Any, experiment: Of, machine: Machine) -> None:
    first = workers(experiment())
    assert workers(experiment("seed=3")) is first
    other = workers(experiment("gpus=2"))
    assert other is not first
    assert workers(experiment()) is first
    assert machine.groups == [first, other]


def test_workers_that_failed_are_not_used_again(
    workers: Any, experiment: Of, machine: Machine
) -> None:
    first, other = workers(experiment()), workers(experiment("gpus=2"))
    workers.jobs.drop(first)
    assert machine.groups == [other]
    assert workers(experiment()) is not first
    assert workers(experiment("gpus=2")) is other


def test_the_end_ends_all(workers: Any, experiment: Of, machine: Machine) -> None:
    with workers.jobs:
        groups = [workers(experiment()), workers(experiment("gpus=2"))]
    assert machine.groups == []
    assert [group.closed for group in groups] == [False, False]


def test_idle_workers_on_this_machine_keep_no_gpu_from_others(
    workers: Any, on_gpu: Of, machine: Machine
) -> None:
    one, two = workers(on_gpu("gpus=1")), workers(on_gpu("gpus=2"))
    tf = workers(on_gpu("framework=tf", "gpus=4"))
    assert machine.groups == [one, two, tf]
    assert workers(on_gpu("gpus=1")) is one


def test_on_a_cluster_idle_workers_leave_before_others_take_gpus(
    workers: Any, on_gpu: Of, machine: Machine
) -> None:
    existing = ("cluster=existing", "cluster.address=auto")
    one = workers(on_gpu("gpus=1", *existing))
    assert workers(on_gpu("gpus=1", *existing)) is one
    tf = workers(on_gpu("framework=tf", "gpus=1", *existing))
    assert machine.groups == [tf], "else tf had to take another GPU"
    assert one.closed is True, "the place is free only when the workers have left"


def test_workers_on_cpus_of_this_machine_wait_for_no_place(
    workers: Any, experiment: Of, machine: Machine
) -> None:
    for number in (1, 2, 4, 8, 16):
        workers(experiment(f"gpus={number}"))
    assert len(machine.groups) == 5


def test_on_a_cluster_cpus_are_places_too(workers: Any, experiment: Of, machine: Machine) -> None:
    existing = ("cluster=existing", "cluster.address=auto")
    one = workers(experiment("gpus=6", *existing))
    workers(experiment("gpus=4", *existing))
    assert one.closed is True and len(machine.groups) == 1
    with workers.jobs:
        (last,) = machine.groups
    assert last.closed is True, "the Ray goes on, so the workers' leaving is waited for"


def test_what_ray_does_not_free_is_waited_for_and_then_left_to_ray(
    workers: Any, experiment: Of, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    existing = ("cluster=existing", "cluster.address=auto")
    workers(experiment("gpus=4", *existing))
    monkeypatch.setattr(ray, "available_resources", dict)
    workers(experiment("gpus=5", *existing))
    assert len(machine.groups) == 1


def test_the_data_are_stored_once(
    workers: Any, experiment: Of, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[Any] = []
    monkeypatch.setattr(ray, "put", stored.append)
    for number in (1, 2, 1):
        workers(experiment(f"gpus={number}"))
    workers(experiment(), replace(dataset, checksum="1" * 64))
    assert len(stored) == 2


def test_workers_that_died_while_idle_are_replaced(workers: Any, experiment: Of) -> None:
    first = workers(experiment())
    first.dead = True
    second = workers(experiment())
    assert second is not first and first.closed is not None
    assert workers(experiment()) is second


def test_idle_workers_leave_when_memory_runs_short(
    workers: Any, experiment: Of, machine: Machine
) -> None:
    machine.gigabytes = 8
    groups = [workers(experiment(f"gpus={size}")) for size in (1, 2, 3, 4)]
    assert machine.groups == groups
    last = workers(experiment("gpus=5"))
    # Of 8 GB, 2 must be available when a group is started.
    assert machine.groups == [*groups[1:], last]

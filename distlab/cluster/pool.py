"""Jobs on Ray, one after the other: which workers run an experiment, and which are kept for later.

Starting workers takes seconds (their processes, the framework's import, its process group), so
those of a run are kept for later runs of the same framework on as many workers. Jobs never run at
the same time; workers without a run wait idle.
"""

import time
from collections.abc import Callable, Hashable
from typing import Any

import psutil
import ray
from omegaconf import OmegaConf

from distlab.cluster import connect
from distlab.cluster.group import WorkerGroup
from distlab.cluster.worker_environment import tf32
from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode

ROOM_S = 5.0
MEMORY_LEFT = 0.25


class Jobs:
    """The workers of this command; a context manager that ends them.

    ``start`` makes a group of workers; tests give another one.
    """

    def __init__(self, start: Callable[[Experiment, Any], WorkerGroup] = WorkerGroup) -> None:
        self._start = start
        self._groups: dict[Hashable, WorkerGroup] = {}
        self._data: dict[tuple[str | None, str], Any] = {}
        self._wait = False

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self.renew()

    def renew(self) -> None:
        """End all groups, so that the next runs have processes of their own."""
        for group in self._groups.values():
            group.close(self._wait)
        self._groups.clear()

    def workers(self, experiment: Experiment, dataset: Dataset) -> WorkerGroup:
        """Workers for the experiment: those of an earlier one that needs the same, else new ones.

        Where places or memory are needed that idle workers occupy, those unused for the longest
        time leave.

        Raises
        ------
        RayLostError
            If Ray itself is gone.
        """
        connect.wait_for_head()
        key = group_key(experiment, dataset)
        group = self._groups.pop(key, None)
        if group is not None and not group.alive():
            group.close()
            group = None
        if group is None:
            self._wait = experiment.options.cluster.mode is not ClusterMode.local
            if self._wait and experiment.device == "gpu":
                self.renew()  # else idle workers kept their GPUs, and others had to take other ones
            self._make_room(experiment)
            group = self._start(experiment, self.data(dataset))
        self._groups[key] = group
        return group

    def data(self, dataset: Dataset) -> Any:
        """A data set in Ray's object store: each node fetches it once, and its workers share it."""
        kept = (connect.connected_to(), dataset.checksum)
        if kept not in self._data:
            self._data[kept] = ray.put(dataset.normalized())
        return self._data[kept]

    def drop(self, group: WorkerGroup) -> None:
        """Give up a group in which something went wrong."""
        self._groups = {key: kept for key, kept in self._groups.items() if kept is not group}
        group.close()

    def _make_room(self, experiment: Experiment) -> None:
        """End idle groups, the longest unused first, until Ray has room for the experiment."""
        while self._groups and not _fits(experiment):
            group = self._groups.pop(next(iter(self._groups)))
            group.close(wait=True)
            # Ray gives the places free a moment after the workers have left.
            deadline = time.monotonic() + ROOM_S
            while not _fits(experiment) and time.monotonic() < deadline:
                time.sleep(0.1)


def group_key(experiment: Experiment, dataset: Dataset) -> Hashable:
    """What must be equal for two experiments to run in the same processes."""
    options = experiment.options
    return (
        options.framework.name,
        tuple(sorted(options.framework.env.items())),
        OmegaConf.to_yaml(OmegaConf.create({"runtime_env": options.framework.runtime_env})),
        (options.framework.environment, options.framework.version),
        tuple(tf32(options.precision)),
        experiment.device,
        experiment.world_size,
        options.threads_per_worker,
        options.pin,
        options.placement,
        options.network.interface,
        dataset.checksum,
    )


def _fits(experiment: Experiment) -> bool:
    """Whether Ray has the CPUs and GPUs that the experiment's workers ask for, and memory is left.

    The memory is that of the driver's machine, of which a quarter must be available. On this
    machine workers take neither CPUs nor GPUs of Ray's count.
    """
    memory = psutil.virtual_memory()
    if memory.available < MEMORY_LEFT * memory.total:
        return False
    free = ray.available_resources()
    workers, on_gpu = experiment.world_size, experiment.device == "gpu"
    local = experiment.options.cluster.mode is ClusterMode.local
    cpus = 0 if local else workers * experiment.options.threads_per_worker
    gpus = 0 if local else workers * on_gpu
    return bool(free.get("CPU", 0) >= cpus and free.get("GPU", 0) >= gpus)

"""The training loop that every rank runs, the same for every framework and free of Ray.

It drives a :class:`distlab.backends.base.Backend` through its life, keeps the clock and yields what
happens as events.
"""

import contextlib
import gc
import hashlib
import json
import mmap
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from distlab.backends.base import DESCRIPTION, OptimizerState, Placement
from distlab.backends.registry import load
from distlab.checkpoints.state import State
from distlab.data.dataset import LabelledImages
from distlab.errors import DistlabError
from distlab.experiment.task import Task
from distlab.machine import ceiling, cores, quota
from distlab.machine.devices import libraries
from distlab.machine.devices.energy import Meter
from distlab.machine.devices.nvml import Gpu, refuse_slices
from distlab.machine.load import CpuSeconds
from distlab.models.weights import draw, fingerprint
from distlab.outcome.environment import lock, processor, software
from distlab.outcome.events import (
    AllReduce,
    Checkpoint,
    Divergence,
    Event,
    Finished,
    Ready,
)
from distlab.worker import probes
from distlab.worker.epoch import Epochs

Data = tuple[LabelledImages, LabelledImages]


class Rank:
    """One rank: the framework imported, the process group joined; it runs task after task.

    Every task gets a new model and optimizer; what is kept between tasks is the process, its
    process group and the data on the device.

    Parameters
    ----------
    framework:
        Name of the backend.
    placement:
        Where this rank stands.
    fetch_data:
        Gives the training and the test set: (images float32 ``[n, channels, height, width]`` in
        [0, 1], labels int64 ``[n]``) each.
    facts:
        What else is known of the process, as plain data, for the record.
    may_use:
        The cores that the ranks of this host may use, before each was given its own; None for
        those that this process may use now.
    """

    def __init__(
        self,
        framework: str,
        placement: Placement,
        fetch_data: Callable[[], Data],
        facts: Mapping[str, Any] | None = None,
        may_use: cores.Cores | None = None,
    ) -> None:
        self.placement = placement
        self._facts = dict(facts or {})
        # Before the framework may bind this process to fewer.
        self._cores = may_use or cores.usable()
        self._groups = quota.bounds()
        gpu = Gpu.visible() if placement.device == "gpu" else None
        if gpu is not None:
            self._facts["gpu"] = gpu.facts()
            refuse_slices(self._facts["gpu"], placement.world_size)
            cores.keep_near(gpu.near(), self._cores)
        self._meter = Meter(gpu, placement.device == "cpu" and placement.local_rank == 0)
        self._seconds: dict[str, float] = {}
        with _Stopwatch(self._seconds, "data"):
            self._data = fetch_data()
            _touch(self._data)
        with _Stopwatch(self._seconds, "framework_import"):
            backend_class = load(framework)
        with _Stopwatch(self._seconds, "process_group"):
            self.backend = backend_class(placement)
        if placement.device == "gpu" and self.backend.gpus_seen() not in (None, 1):
            raise DistlabError(
                "one GPU for each worker",
                f"{framework} sees {self.backend.gpus_seen()} GPUs in the process of rank "
                f"{placement.rank} (CUDA_VISIBLE_DEVICES="
                f"{os.environ.get('CUDA_VISIBLE_DEVICES', '')})",
                "leave CUDA_VISIBLE_DEVICES out of framework.env and framework.runtime_env",
            )
        self._loaded = False
        self._products: dict[str, dict[str, float]] = {}

    def run(self, task: Task, state: State | None = None) -> Iterator[Event]:
        """Build, warm up, train and evaluate every epoch, and measure the exchange.

        Yields this rank's events: except for :class:`~distlab.outcome.events.Progress`, always
        outside timed windows.

        Parameters
        ----------
        task:
            What to do.
        state:
            What to go on from, the same on all ranks; None to begin with the seed's weights.
        """
        backend, placement = self.backend, self.placement
        train_set, test_set = self._data
        if task.program.execution not in backend.executions:
            raise DistlabError(
                f"framework={task.framework} execution={task.program.execution}",
                f"this backend runs {' and '.join(backend.executions)} only",
                f"execution={backend.executions[0]}",
            )
        # What the framework has at all; what it lacks on this device, its build says best.
        precisions = type(backend).precisions
        if task.program.precision not in precisions:
            raise DistlabError(
                f"framework={task.framework} precision={task.program.precision}",
                f"this backend runs {' and '.join(precisions)} only",
                f"precision={precisions[0]}",
            )
        if task.program.rule not in backend.optimizers:
            raise DistlabError(
                f"framework={task.framework} optimizer={task.program.rule}",
                f"this backend has {' and '.join(backend.optimizers)} only",
                f"optimizer={backend.optimizers[0]}",
            )
        # What an earlier run left may go now, and its peak of memory is forgotten.
        gc.unfreeze()
        _reset_peak_memory()
        precision = task.program.precision
        # The first run pays for the process; those after it for themselves alone.
        seconds, self._seconds = {**_NO_START, **self._seconds}, {}
        with _Stopwatch(seconds, "build"):
            backend.build(task.spec, task.program)
            if not self._loaded:
                backend.load_data(train_set, test_set)
                self._loaded = True
        steps = len(train_set[1]) // task.global_batch
        epochs = Epochs(
            *(backend, task, placement, len(train_set[1]), len(test_set[1])),
            *(self._cpu_seconds, self._meter, state.seconds if state else 0.0),
        )
        epochs.check()
        # Before the warm-up takes memory, because their matrices add to its peak.
        with _Stopwatch(seconds, "limits"):
            self._measure_limits(precision)
        with _Stopwatch(seconds, "warm_up"):
            optimizer_error, seconds["compile"] = probes.warm_up(backend, task, placement, steps)
        backend.set_weights(draw(task.spec, task.seed))
        backend.set_optimizer_state(OptimizerState.zero(task.spec, task.program.moments))
        backend.peak_device_memory()  # of the warm-up, in which libraries try their algorithms
        resources, packages = self._resources(precision), ""
        if placement.rank == 0:
            packages = lock()
            resources["packages_sha256"] = hashlib.sha256(packages.encode()).hexdigest()
        begins_with = fingerprint(backend.weights())
        yield Ready(*(placement.rank, begins_with, optimizer_error, resources, seconds, packages))
        # What is there by now need not be searched for garbage inside timed windows.
        gc.collect()
        gc.freeze()
        if state is not None:
            state.restore(backend)
        for epoch in range(state.epoch if state else 0, epochs.number):
            yield from epochs.train(epoch)
            if epochs.stopped is not None:
                # No state: what goes on from the one before comes to the same end.
                break
            if placement.rank == 0 and _is_kept(epoch + 1, task):
                # Here and not by the driver, which would compute while the next epoch is timed.
                trained_s = epochs.seconds if task.stop.seconds is not None else 0.0
                yield Checkpoint(0, epoch + 1, State.of(backend, epoch + 1, trained_s).encoded())
        weights = backend.weights()
        if not all(np.isfinite(array).all() for array in weights.values()):
            yield Divergence(placement.rank, *epochs.last, "weights")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        device_peak = backend.peak_device_memory()
        exchange = None
        all_reduces: tuple[AllReduce, ...] = ()
        if task.measure_exchange and placement.world_size > 1:
            exchange = probes.exchange_windows(backend, task, placement, steps)
            all_reduces = probes.all_reduces(backend, task, placement)
        yield Finished(
            placement.rank,
            fingerprint(weights),
            peak,
            weights if placement.rank == 0 else None,
            exchange,
            device_peak,
            all_reduces,
        )

    def _cpu_seconds(self) -> CpuSeconds:
        """CPU time until now, of this process and on the cores that it may use."""
        return CpuSeconds.now(self._cores.allowed, self._groups)

    def close(self) -> None:
        """Leave the process group."""
        self.backend.close()

    def _measure_limits(self, precision: str) -> None:
        """Measure what the device can do at best, all ranks at the same time.

        Once for each precision; on a GPU before each run, whose clocks rise meanwhile, for as long
        in each framework.
        """
        if precision not in self._products or self.placement.device == "gpu":
            self.backend.barrier()
            self._products[precision] = dict(self.backend.matrix_product_rates())
            if self.placement.device == "cpu":
                threads = self.placement.threads
                self._products[precision][ceiling.NUMPY] = ceiling.matrix_product_rate(threads)

    def _resources(self, precision: str) -> dict[str, Any]:
        """What is in use, as plain data.

        A framework's own type would make the driver import the framework.
        """
        described = self.backend.describe()
        for name, kind in DESCRIPTION.items():
            if not isinstance(described.get(name), kind):
                raise DistlabError(
                    f"framework={self.backend.framework}",
                    f"its backend describes {name} as {described.get(name)!r}, which is no "
                    f"{kind.__name__}",
                    "python -m distlab.conformance PACKAGE.MODULE:CLASS tells what else it lacks",
                )
        products = self._products.get(precision, {})
        library = max(products, key=lambda name: products[name], default=None)
        resources = {
            **described,
            **self._facts,
            **software(),
            "python": sys.executable,
            "cpus": self._cores.machine,
            "cores": asdict(self._cores),
            "cpu_affinity": sorted(os.sched_getaffinity(0)),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "matrix_product_flops_per_s": products.get(str(library)),
            "matrix_product_library": library,
            "matrix_products": products,
        }
        if self.placement.device == "cpu":
            resources["device_name"] = processor()
        else:
            resources["nvidia_libraries"] = libraries.loaded()
        return dict(json.loads(json.dumps(resources, allow_nan=False)))


def _touch(data: Data) -> None:
    """Read from every page of the arrays, which may lie in memory that other processes filled.

    The kernel maps such a page when it is first read, which would else be in the first epoch: some
    10 ms of it for MNIST.
    """
    for arrays in data:
        for array in arrays:
            values_of_a_page = max(1, mmap.PAGESIZE // array.itemsize)
            np.add.reduce(array.reshape(-1)[::values_of_a_page])


def _reset_peak_memory() -> None:
    """Begin the process's peak of resident memory anew, as proc_pid_clear_refs(5) offers it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


_NO_START = dict.fromkeys(("data", "framework_import", "process_group"), 0.0)


def _is_kept(epochs: int, task: Task) -> bool:
    """Whether the state after so many epochs is one that is given."""
    every = task.checkpoint_every
    return every > 0 and (epochs % every == 0 or epochs == task.epochs)


class _Stopwatch:
    """Adds the seconds spent in its block to ``seconds[name]``."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._start

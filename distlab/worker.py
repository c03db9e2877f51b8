"""The training loop that every rank runs, the same for every framework and free of Ray.

It drives a :class:`distlab.backends.base.Backend` through its life, keeps the clock and tells
what happens through ``emit``.
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Backend, LabelledImages, OptimizerState, Placement, Program
from distlab.backends.registry import load
from distlab.data.order import epoch_order, evaluation_range, shard
from distlab.environment import processor
from distlab.errors import DistlabError
from distlab.events import EpochDone, Event, Finished, Progress, Ready
from distlab.measure.clock import Window, compile_seconds, span_lengths
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights, draw, fingerprint

PROGRESS_INTERVAL_S = 1.0
WARM_UP_STEPS = 50


@dataclass(frozen=True)
class Task:
    """What all ranks of a run are told.

    Attributes
    ----------
    framework:
        Name of the backend.
    epochs, global_batch, seed:
        Length of the run, samples of a step over all ranks, seed of weights and sample order.
    live:
        Whether rank 0 reports its position inside epochs, for a progress bar.
    """

    framework: str
    spec: ModelSpec
    program: Program
    epochs: int
    global_batch: int
    seed: int
    live: bool = False


def run(
    task: Task,
    placement: Placement,
    fetch_data: Callable[[], tuple[LabelledImages, LabelledImages]],
    emit: Callable[[Event], None],
) -> None:
    """Run one rank from the framework's import to the end of its process group.

    Parameters
    ----------
    task:
        What all ranks are told.
    placement:
        Where this rank stands.
    fetch_data:
        Gives the training and the test set: (images float32 ``[n, channels, height, width]`` in
        [0, 1], labels int64 ``[n]``) each.
    emit:
        Called with this rank's events. Except for :class:`~distlab.events.Progress`, always
        outside timed windows.
    """
    seconds: dict[str, float] = {}
    with _Stopwatch(seconds, "data"):
        train_set, test_set = fetch_data()
    with _Stopwatch(seconds, "framework_import"):
        backend_class = load(task.framework)
    if task.program.execution not in backend_class.executions:
        raise DistlabError(
            f"framework={task.framework} execution={task.program.execution}",
            f"this backend runs {' and '.join(backend_class.executions)} only",
            f"execution={backend_class.executions[0]}",
        )
    with _Stopwatch(seconds, "process_group"):
        backend = backend_class(placement)
    with _Stopwatch(seconds, "build"):
        backend.build(task.spec, task.program)
        backend.load_data(train_set, test_set)
    steps = len(train_set[1]) // task.global_batch
    with _Stopwatch(seconds, "warm_up"):
        optimizer_error, seconds["compile"] = _warm_up(backend, task, placement, steps)
    backend.set_weights(draw(task.spec, task.seed))
    backend.set_optimizer_state(OptimizerState.zero(task.spec))
    resources = {
        **backend.describe(),
        "python": sys.executable,
        "cpu_affinity": sorted(os.sched_getaffinity(0)),
    }
    if placement.device == "cpu":
        resources["device_name"] = processor()
    # Plain data: a framework's own type would make the driver import the framework.
    resources = json.loads(json.dumps(resources))
    found = fingerprint(backend.weights())
    emit(Ready(placement.rank, found, optimizer_error, resources, seconds))
    # What was imported until here need not be searched for garbage inside timed windows.
    gc.collect()
    gc.freeze()
    for epoch in range(task.epochs):
        emit(_epoch(backend, task, placement, epoch, len(train_set[1]), len(test_set[1]), emit))
    weights = backend.weights()
    backend.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    emit(
        Finished(
            placement.rank,
            fingerprint(weights),
            peak,
            weights if placement.rank == 0 else None,
        )
    )


def _warm_up(backend: Backend, task: Task, placement: Placement, steps: int) -> tuple[float, float]:
    """Take a first step and then a span of several, so that all is compiled.

    The caller sets weights and optimizer state again afterwards.

    Returns
    -------
    tuple
        The first step's deviation from Adam (:func:`_optimizer_error`), and the seconds that
        compilation took.
    """
    before = draw(task.spec, task.seed)
    backend.set_weights(before)
    backend.set_optimizer_state(OptimizerState.zero(task.spec))
    steps = min(steps, WARM_UP_STEPS)
    order = np.arange(steps * task.global_batch, dtype=np.int32).reshape(steps, task.global_batch)
    mine = shard(order, placement.rank, placement.world_size)
    first = [_timed(backend, mine[:1])]
    error = _optimizer_error(task.program, before, backend.weights(), backend.optimizer_state())
    first.append(_timed(backend, mine[:WARM_UP_STEPS]))
    backend.barrier()
    return error, compile_seconds(first, _timed(backend, mine[:WARM_UP_STEPS]))


def _timed(backend: Backend, indices: NDArray[np.int32]) -> tuple[int, float]:
    """Train a span; return its steps and seconds."""
    start = time.perf_counter()
    backend.train(indices)
    return len(indices), time.perf_counter() - start


def _optimizer_error(
    program: Program, before: Weights, after: Weights, state: OptimizerState
) -> float:
    """How far the first update is from Adam's, over all parameters, in learning rates.

    From a zero state the first moment is (1 - beta1) g, so that the framework's own gradient g is
    known, and the update of Kingma & Ba (2015), Algorithm 1, is -lr g / (|g| + epsilon). Among
    many parameters some have gradients as small as epsilon, which shows where epsilon is added.
    """
    errors = []
    for name, start in before.items():
        slope = state.first_moment[name].astype(np.float64) / (1 - program.beta1)
        update = -slope / (np.abs(slope) + program.epsilon)
        found = (after[name].astype(np.float64) - start) / program.learning_rate
        errors.append(np.abs(found - update).max())
    return float(max(errors))


def _epoch(
    backend: Backend,
    task: Task,
    placement: Placement,
    epoch: int,
    train_samples: int,
    test_samples: int,
    emit: Callable[[Event], None],
) -> EpochDone:
    """Train one epoch inside the clock's window, then evaluate outside it."""
    order = epoch_order(task.seed, epoch, train_samples, task.global_batch)
    mine = shard(order, placement.rank, placement.world_size)
    flops_per_step = task.spec.training_flops * task.program.local_batch
    bounds = np.cumsum([0, *span_lengths(len(mine), flops_per_step)])
    losses: list[np.ndarray] = []
    spans: list[tuple[int, float]] = []
    live = task.live and placement.rank == 0
    backend.barrier()
    start = mark = told = time.perf_counter()
    for begin, end in pairwise(bounds):
        losses.append(backend.train(mine[begin:end]))
        now = time.perf_counter()
        spans.append((int(end - begin), now - mark))
        mark = now
        if live and now - told >= PROGRESS_INTERVAL_S:
            emit(Progress(0, epoch, int(end), now - start, float(losses[-1][-1])))
            told = now
    backend.barrier()
    window = Window(time.perf_counter() - start, tuple(spans))
    part = evaluation_range(test_samples, placement.rank, placement.world_size)
    evaluation = backend.evaluate(*part)
    return EpochDone(placement.rank, epoch, window, np.concatenate(losses), mine, evaluation)


class _Stopwatch:
    """Adds the seconds spent in its block to ``seconds[name]``."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._start

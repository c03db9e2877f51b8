"""What a rank measures beside its timed epochs: first step, compilation, cost of the exchange."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Backend, OptimizerState, Placement, Program
from distlab.data.order import shard
from distlab.experiment.task import Task
from distlab.measure.clock import compile_seconds
from distlab.models.weights import Weights, draw
from distlab.outcome.events import AllReduce, ExchangeWindows

WARM_UP_STEPS = 50
PROBE_FLOPS = {"cpu": 1e11, "gpu": 1e13}
"""Of a span of these probes: of large models it has fewer steps, but at least two."""
GPU_WARM_UP_SPANS = 20
"""More spans for a GPU; counted, as ranks exchange gradients. Its clocks have risen before, while
products of matrices were timed, for as long in each framework (``ceiling.SECONDS``)."""
EXCHANGE_STEPS = 100
GPU_EXCHANGE_STEPS = {"eager": 1000, "graph": 10_000}
"""Of a window on a GPU, where a step takes some 300 or 30 microseconds: some tenths of a second.
They are counted, because all ranks must take as many."""
EXCHANGE_WINDOWS = {"cpu": 2, "gpu": 3}
"""Timed windows with the exchange before those without, and again after them."""
ALL_REDUCE_BYTES = (2**10, 2**14, 2**18, 2**20, 2**22)
"""Sizes of arrays that are averaged, besides the model's own gradient."""
ALL_REDUCE_WINDOWS = 5
ALL_REDUCE_TIMES = {2**16: 20, 2**20: 5}
"""How often in a window arrays of up to so many bytes are averaged; once if they are larger."""


def warm_up(
    backend: Backend, task: Task, placement: Placement, steps: int
) -> tuple[float | None, float]:
    """Take a first step and then a span of several, so that all is compiled.

    A GPU takes more of them before the one that tells what compilation took.

    The caller sets weights and optimizer state again afterwards.

    Returns
    -------
    tuple
        The first step's deviation from its optimizer (:func:`_optimizer_error`), and the seconds
        that compilation took.
    """
    before = draw(task.spec, task.seed)
    backend.set_weights(before)
    backend.set_optimizer_state(OptimizerState.zero(task.spec, task.program.moments))
    mine = _first_samples(task, placement, min(steps, WARM_UP_STEPS))
    first = [_timed(backend, mine[:1])]
    error = _optimizer_error(task.program, before, backend.weights(), backend.optimizer_state())
    first.append(_timed(backend, mine))
    for _ in range(GPU_WARM_UP_SPANS if placement.device == "gpu" else 0):
        backend.train(mine)
    backend.barrier()
    return error, compile_seconds(first, _timed(backend, mine))


def exchange_windows(
    backend: Backend, task: Task, placement: Placement, steps: int
) -> ExchangeWindows:
    """Time the same steps with the exchange of gradients on and off, in windows of their own.

    On, off and on again, as many windows of each, so that a machine that becomes slower or quicker
    meanwhile does so for both alike. The model is built again for it, so this stands at the end of
    a run. What is on costs includes waiting for the slowest rank, as it does in training.
    """
    device = placement.device
    wanted = EXCHANGE_STEPS if device == "cpu" else GPU_EXCHANGE_STEPS[task.program.execution]
    wanted = _affordable(task, device, wanted)
    mine = _first_samples(task, placement, min(steps, wanted))
    calls = -(-wanted // len(mine)) if device == "gpu" else 1

    def windows(count: int) -> tuple[float, ...]:
        backend.train(mine[:1])
        backend.train(mine)
        seconds = []
        for _ in range(count):
            backend.barrier()
            start = time.perf_counter()
            for _ in range(calls):
                backend.train(mine)
            backend.barrier()
            seconds.append(time.perf_counter() - start)
        return tuple(seconds)

    def rebuild(exchange: bool) -> None:
        backend.build(task.spec, replace(task.program, exchange=exchange))
        backend.set_weights(draw(task.spec, task.seed))
        backend.set_optimizer_state(OptimizerState.zero(task.spec, task.program.moments))

    count = EXCHANGE_WINDOWS[device]
    before = windows(count)
    rebuild(exchange=False)
    without = windows(2 * count)
    rebuild(exchange=True)
    return ExchangeWindows(before + windows(count), without)


def all_reduces(backend: Backend, task: Task, placement: Placement) -> tuple[AllReduce, ...]:
    """Time the mean of arrays over all ranks, by the collective that averages gradients.

    Windows of some in a row, between barriers, after one that is not timed; seconds are of one.
    Nothing where the backend does not offer it.
    """
    sizes = sorted({*ALL_REDUCE_BYTES, 4 * task.spec.parameter_count})
    found = []
    for size in sizes:
        averaging = backend.averaging(np.full(size // 4, placement.rank, np.float32))
        if averaging is None:
            return ()
        times = next((count for most, count in ALL_REDUCE_TIMES.items() if size <= most), 1)
        averaging.run()
        seconds = []
        for _ in range(ALL_REDUCE_WINDOWS):
            backend.barrier()
            start = time.perf_counter()
            for _ in range(times):
                averaging.run()
            seconds.append((time.perf_counter() - start) / times)
        found.append(AllReduce(size, tuple(seconds)))
    return tuple(found)


def _first_samples(task: Task, placement: Placement, steps: int) -> NDArray[np.int32]:
    """A rank's part of so many global batches, or fewer; they take the samples as they stand."""
    steps = min(steps, _affordable(task, placement.device, steps))
    order = np.arange(steps * task.global_batch, dtype=np.int32).reshape(steps, task.global_batch)
    return shard(order, placement.rank, placement.world_size)


def _affordable(task: Task, device: str, steps: int) -> int:
    """So many steps, or fewer of a large model, but at least two."""
    flops = task.spec.training_flops * task.program.local_batch
    return min(steps, max(2, int(PROBE_FLOPS[device] / flops)))


def _timed(backend: Backend, indices: NDArray[np.int32]) -> tuple[int, float]:
    """Train a span; return its steps and seconds."""
    start = time.perf_counter()
    backend.train(indices)
    return len(indices), time.perf_counter() - start


def _optimizer_error(
    program: Program, before: Weights, after: Weights, state: OptimizerState
) -> float | None:
    """How far the first update is from the optimizer's, over all parameters, in learning rates.

    From a zero state Adam's first moment is (1 - beta1) g, so that the framework's own gradient g
    is known, and the update of Kingma & Ba (2015), Algorithm 1, is -lr g / (|g| + epsilon). Among
    many parameters some have gradients as small as epsilon, which shows where epsilon is added.
    AdamW's has -lr weight_decay w besides. The first velocity of SGD is the gradient with its
    decay, and the update is -lr times it, or with Nesterov's step 1 + momentum times as much.

    None where there are no moments to tell the gradient by: of SGD without momentum.
    """
    errors = []
    for name, moment in state.first_moment.items():
        start = before[name].astype(np.float64)
        if program.rule == "sgd":
            update = -moment.astype(np.float64) * (1 + program.momentum * program.nesterov)
        else:
            slope = moment.astype(np.float64) / (1 - program.beta1)
            update = -slope / (np.abs(slope) + program.epsilon)
        if program.rule == "adamw":
            update -= program.weight_decay * start
        found = (after[name].astype(np.float64) - start) / program.learning_rate
        errors.append(np.abs(found - update).max())
    return float(max(errors)) if errors else None

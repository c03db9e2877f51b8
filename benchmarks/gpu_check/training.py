"""One process of the check: distlab's own rank loop on one device, cell after cell.

    training.py FRAMEWORK DEVICE FOLDER EPOCHS MODEL,... EXECUTION,... PRECISION,...

Prints a line of JSON for each cell. It needs Python, NumPy and the framework.
"""

import json
import math
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import images
import models
import numpy as np

from distlab.backends.base import OptimizerState, Placement, Program
from distlab.data.order import epoch_order
from distlab.experiment.task import Task
from distlab.fairness import reference
from distlab.fairness.rounding import loss_errors, why_not
from distlab.measure.clock import time_to_accuracy
from distlab.models.weights import draw
from distlab.outcome.events import EpochDone, Finished, Ready
from distlab.worker.loop import Rank

BACKENDS = {
    "torch": "distlab.backends.torch.backend:TorchBackend",
    "tf": "distlab.backends.tensorflow.backend:TensorFlowBackend",
    "paddle": "distlab.backends.paddle.backend:PaddleBackend",
}
BATCH, SEED, STEPS, TARGET = 64, 3, 10, 0.99
_exact: dict[tuple[str, int], np.ndarray] = {}
"""The reference's losses by model and batch, which all executions and precisions share."""
BATCHES = {"eager": (8, 64, 512), "graph": (64,)}
"""Batches at which losses are held against float64, for libraries choose algorithms for each.

Compiled steps call the same libraries, and each batch would cost them a compilation more.
"""
UPDATE_TOLERANCE = 1e-3
"""Of a first update of Adam, in learning rates, as in the fairness contract."""


def main(
    framework: str, device: str, folder: str, epochs: str, names: str, executions: str, how: str
) -> None:
    """Train each model in each execution and precision, and tell of each."""
    data = images.load(Path(folder))
    placement = Placement(0, 1, 0, "gpu" if device == "gpu" else "cpu", ("127.0.0.1:0",), 1)
    rank = Rank(BACKENDS[framework], placement, lambda: data)
    cells = product(how.split(","), names.split(","), executions.split(","))
    for precision, model, execution in cells:
        cell = {"framework": framework, "model": model, "execution": execution}
        cell |= {"precision": precision}
        try:
            told = _cell(rank, data, int(epochs), **cell)
        except Exception as error:  # what one cell can't do, another may
            told = {"wrong": [" ".join(f"{type(error).__name__}: {error}".split())]}
        print("RESULT " + json.dumps({**cell, **told}), flush=True)  # noqa: T201
    rank.close()


def _cell(
    rank: Rank, data: Any, epochs: int, framework: str, model: str, execution: str, precision: str
) -> dict[str, Any]:
    """One cell: what it measured, and what is wrong with it."""
    if precision not in rank.backend.precisions:
        return {"skipped": f"{framework} has no {precision} on this device"}
    spec = models.spec(model)
    program: Any = Program(BATCH, execution=execution, precision=precision)  # type: ignore[arg-type]
    task = Task(framework, spec, program, epochs, BATCH, SEED)
    begun = time.perf_counter()
    events = list(rank.run(task))
    took = time.perf_counter() - begun
    (ready,) = (event for event in events if isinstance(event, Ready))
    (end,) = (event for event in events if isinstance(event, Finished))
    done = [event for event in events if isinstance(event, EpochDone)]
    seconds = [event.window.seconds for event in done]
    accuracy = [event.evaluation.correct / event.evaluation.samples for event in done]
    batches = BATCHES[execution]
    errors = {batch: _errors(rank, data, replace(task, global_batch=batch)) for batch in batches}
    why = {batch: why_not(found, precision, batch) for batch, found in errors.items()}
    wrong = [f"losses at batch {batch}: {text}" for batch, text in why.items() if text]
    if ready.optimizer_error > UPDATE_TOLERANCE:
        wrong.append(f"the first update is off by {ready.optimizer_error:.1e} learning rates")
    limit = ready.resources["matrix_product_flops_per_s"]
    rate = done[0].consumed.size * epochs / sum(seconds)
    windows = [one.device for one in done if one.device]
    joule = [window.energy_j for window in windows]
    return {
        "wrong": wrong,
        "samples_per_s": rate,
        "epoch_s": seconds,
        "step_us": 1e6 * min(seconds) / len(done[0].losses),
        "first_epoch_over_fastest": seconds[0] / min(seconds),
        "test_accuracy": accuracy,
        "time_to_99_s": time_to_accuracy(accuracy, seconds, TARGET),
        "compile_s": ready.seconds["compile"],
        "compiled_from_cache": ready.resources.get("compiled_from_cache"),
        "whole_s": took,
        "loss_errors": {
            str(batch): [error if math.isfinite(error) else None for error in found.tolist()]
            for batch, found in errors.items()
        },
        "optimizer_error": ready.optimizer_error,
        "utilisation": spec.training_flops * rate / limit if limit else None,
        "matrix_product_flops_per_s": limit,
        "peak_device_memory_bytes": end.peak_device_memory_bytes,
        "energy_j": sum(filter(None, joule)) if joule and None not in joule else None,
        "gpu": ready.resources.get("gpu"),
        "device_name": ready.resources["device_name"],
        "nvidia_libraries": ready.resources.get("nvidia_libraries"),
        "framework_version": ready.resources["framework_version"],
        "final_weights_sha256": end.weights_sha256,
    }


def _errors(rank: Rank, data: Any, task: Task) -> np.ndarray:
    """How far the first ten losses at a batch are from float64's."""
    batch = task.global_batch
    order = epoch_order(SEED, 0, len(data[0][1]), batch)[:STEPS]
    start = draw(task.spec, SEED)
    rank.backend.build(task.spec, replace(task.program, local_batch=batch))
    rank.backend.set_weights(start)
    rank.backend.set_optimizer_state(OptimizerState.zero(task.spec))
    found = np.concatenate([rank.backend.train(order[:1]), rank.backend.train(order[1:])])
    key = task.spec.name, batch
    if key not in _exact:
        _exact[key] = reference.losses(task.spec, start, *data[0], order)
    return loss_errors(found, _exact[key])


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Recorded steps, on an imitated GPU in processes of their own."""

import json
import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import fresh_process
import numpy as np
import pytest

from distlab.backends.base import Program
from distlab.models.layers import BatchNorm, Dense, Flatten, ReLU
from distlab.models.spec import ModelSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("torch") is None, reason='PyTorch is not installed: pip install "distlab[torch]"'
    ),
]


@cache
def found() -> Any:
    """What this file finds when it is a process of its own."""
    return fresh_process.found(__file__)


SPEC = ModelSpec(
    "normalized",
    (Flatten(), Dense("one", 12, 7), BatchNorm("norm", 7), ReLU(), Dense("two", 7, 4)),
    input_shape=(1, 3, 4),
)
PROGRAM = Program(local_batch=4, execution="graph", exchange=False)
PROGRAMS = {
    "reference": PROGRAM,
    "stock": replace(PROGRAM, optimizer="stock"),
    "adamw": replace(PROGRAM, rule="adamw", weight_decay=0.01),
    "momentum": replace(PROGRAM, rule="sgd", momentum=0.9, nesterov=True),
}
SPANS = 1, 70, 5
"""Steps of each call of train; more than a recorded step's table holds among them."""


def peak() -> list[object]:
    """What is asked of the device's memory, among the steps of a recording."""
    import imitated_cuda
    import torch

    calls: list[str] = []
    imitated_cuda.install(calls)
    from distlab.backends.torch.cuda_graph import RecordedStep

    def step(batch: Any, scales: Any) -> Any:
        calls.append("step")
        return torch.zeros(())

    recorded = RecordedStep(step, 4, torch.zeros(7), torch.device("cpu"))
    return [recorded.peak, *calls]


def bits() -> dict[str, Any]:
    """Of each program, what its recorded steps and its plain ones gave."""
    import imitated_cuda
    import torch

    from distlab.backends.torch import graph

    imitated_cuda.install([])
    torch.compile = lambda function, **_: function
    graph.require_c_compiler = lambda: None
    return {name: [trained(name, recorded) for recorded in (True, False)] for name in PROGRAMS}


def trained(name: str, recorded: bool) -> dict[str, Any]:
    """Losses, and all that a step changes, behind each span of steps."""
    import torch

    from distlab.backends.torch import graph

    # Without exchange one of two does the steps of a single GPU.
    steps: Any = graph.Graph(SPEC, PROGRAMS[name], torch.device("cpu"), 2)
    steps._on_cpu = False
    if not recorded:
        steps._train_recorded = steps._train_apart
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.random((40, *SPEC.input_shape), np.float32))
    labels = torch.from_numpy(random.integers(0, 4, 40))
    held = [*steps.parameters.values(), *steps.running.values()]
    held += [tensor for moment in steps.moments for tensor in moment.values()]
    for tensor in held[: len(steps.parameters)]:
        tensor.copy_(torch.from_numpy(random.normal(0, 0.3, tensor.shape)))
    results = []
    for span in SPANS:
        batches = torch.from_numpy(random.integers(0, 40, (span, 4)))
        rates = np.full(span, 1e-3) if name == "stock" else random.random(span) / 100
        losses = steps.train(images, labels, batches, rates)
        results.append([one.numpy().tobytes().hex() for one in (losses, *held)])
    stock = None if steps._stock is None else steps._stock.steps_taken
    graphs = 0 if steps._recorded is None else len(steps._recorded[1]._graph.done)
    return {"bits": results, "steps": [steps.steps_taken, stock], "recorded": graphs > 0}


def test_a_recorded_steps_peak_is_that_of_its_recording_and_not_of_its_warm_up() -> None:
    assert found()["peak"] == [77, "step", "step", "step", "reset", "step", "read"]


def test_recorded_steps_give_the_bits_of_plain_ones() -> None:
    """Warming up a recording changes nothing, and nothing of a step is left to the host."""
    for name, (recorded, plain) in found()["bits"].items():
        assert [recorded.pop("recorded"), plain.pop("recorded")] == [True, False]
        assert recorded == plain, name
        assert plain["steps"] == [sum(SPANS), sum(SPANS) if name == "stock" else None]


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"peak": peak(), "bits": bits()}))

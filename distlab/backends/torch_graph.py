"""How torch runs the steps compiled.

For one CPU worker several whole steps are one program on separate parameters; elsewhere all
parameters are one flat tensor, whose gradient needs one all-reduce, between two programs. On a GPU
these and the all-reduce are recorded as one CUDA graph (not yet run on a GPU).
``optimizer.variant=stock`` runs torch's own Adam behind the compiled gradient.

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

import math
import os
import shutil
import time
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from distlab.backends.base import Program
from distlab.backends.torch_cuda_graph import RecordedStep
from distlab.backends.torch_execution import FusedAdam
from distlab.backends.torch_model import logits
from distlab.errors import DistlabError
from distlab.models.spec import ModelSpec

STEPS_PER_CALL = 2
"""How many steps of a small model one compiled program runs, so that calls into it cost little."""
SMALL_STEP_FLOPS = 50e6
"""A step of fewer floating-point operations is small: a call from Python is some 5 % of it."""

AWAKE_S = 0.005
"""For how long a rank stays awake while it waits for the others, in seconds."""

NO_STEP = (0.0, 1.0, 1.0, 0.0, 1.0, 0.0)
"""The factors of a step of Adam that leaves weights and moments as they are."""

COMPILED_PROGRAMS = 4
"""How many compiled programs a process keeps; each once more for data of another size."""

_compiled: set[Hashable] = set()


class Graph:
    """Forward, backward and Adam compiled: whole steps, or halves around an all-reduce."""

    def __init__(
        self, spec: ModelSpec, program: Program, device: torch.device, world_size: int
    ) -> None:
        if device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
            raise DistlabError(
                "execution=graph with framework=torch device=cpu",
                "torch.compile needs a C++ compiler on CPU and there is no g++",
                "install g++ (apt-get install g++)\nor execution=eager",
            )
        _make_room_for((spec, replace(program, learning_rate=0.0, exchange=True), world_size))
        self._program, self._world_size = program, world_size
        self._exchange = program.exchange and world_size > 1
        self._share = torch.tensor(1 / world_size if self._exchange else 1.0, device=device)
        self.steps_taken = 0
        shapes = {
            name: shape[::-1] if len(shape) == 2 else shape
            for name, shape in spec.parameters.items()
        }
        flat = [torch.zeros(spec.parameter_count, device=device) for _ in range(3)]
        self._weights, self._first, self._second = flat
        self.parameters = _views(self._weights, shapes)
        self.moments = _views(self._first, shapes), _views(self._second, shapes)
        on_cpu = device.type == "cpu"
        self._whole = on_cpu and world_size == 1 and program.optimizer == "reference"
        self._recorded: tuple[tuple[int, int], RecordedStep] | None = None
        if self._whole:  # faster apart on CPU; views that change compile badly
            self.parameters = _apart(self.parameters)
            self.moments = _apart(self.moments[0]), _apart(self.moments[1])
        small = program.local_batch * spec.training_flops < SMALL_STEP_FLOPS
        self._steps_per_call = steps_per_call = STEPS_PER_CALL if small else 1
        epsilon, bf16 = program.epsilon, program.precision == "bf16"

        def loss_of(weights: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            # Casts of weights are not kept: they would be those of an earlier step.
            with torch.autocast(device.type, torch.bfloat16, bf16, cache_enabled=False):
                outputs = logits(spec, weights, images)
            return functional.cross_entropy(outputs.float(), labels)

        def loss_of_flat(weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
            return loss_of(_views(weights, shapes), images, labels)

        def gradient(
            weights: Tensor, images: Tensor, labels: Tensor, batch: Tensor, share: Tensor
        ) -> tuple[Tensor, Tensor]:
            x, y = images.index_select(0, batch), labels.index_select(0, batch)
            slope, value = torch.func.grad_and_value(loss_of_flat)(weights, x, y)
            return value, slope * share

        def adam(
            weights: Tensor, first: Tensor, second: Tensor, slope: Tensor, scales: Tensor
        ) -> None:
            first.mul_(scales[2]).add_(slope * scales[3])
            second.mul_(scales[4]).add_(slope * slope * scales[5])
            weights.sub_(scales[0] * first / (second.sqrt() * scales[1] + epsilon))

        def several(
            weights: dict[str, Tensor],
            first: dict[str, Tensor],
            second: dict[str, Tensor],
            images: Tensor,
            labels: Tensor,
            batches: Tensor,
            scales: Tensor,
        ) -> Tensor:
            values = []
            for step in range(steps_per_call):
                x = images.index_select(0, batches[step])
                y = labels.index_select(0, batches[step])
                slopes, value = torch.func.grad_and_value(loss_of)(weights, x, y)
                for name, slope in slopes.items():
                    adam(weights[name], first[name], second[name], slope, scales[step])
                values.append(value)
            return torch.stack(values)

        options: dict[str, Any] = {"cpp_wrapper": self._whole}
        if on_cpu:
            # Loads the compiler, which eager execution does without.
            from distlab.backends.torch_products import products_by_onednn

            options |= products_by_onednn()
        self.products = "onednn and mkl" if "post_grad_custom_post_pass" in options else "mkl"
        self._several = torch.compile(several, fullgraph=True, dynamic=False, options=options)
        self._gradient = torch.compile(gradient, fullgraph=True, dynamic=False, options=options)
        self._adam = torch.compile(adam, fullgraph=True, dynamic=False)
        self._stock: FusedAdam | None = None
        if program.optimizer == "stock":
            moments = [self._first], [self._second]
            self._stock = FusedAdam([self._weights], program, moments)

    @torch.no_grad()
    def train(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Run a step for each row of ``batches``; return the local losses."""
        if self._whole:
            losses = self._train_whole(images, labels, batches)
        elif images.device.type == "cuda" and self._stock is None:
            scales = self._scales(len(batches)).to(images.device)
            losses = self._record(images, labels).run(batches, scales)
        else:
            losses = torch.empty(len(batches), device=images.device)
            scales = self._scales(len(batches)).to(images.device)
            if self._stock is not None:
                self._stock.steps_taken = self.steps_taken
            for step, batch in enumerate(batches):
                losses[step] = self._step(images, labels, batch, scales[step])
        self.steps_taken += len(batches)
        return losses

    def _step(self, images: Tensor, labels: Tensor, batch: Tensor, scales: Tensor) -> Tensor:
        """Gradient, all-reduce and Adam on the flat tensors; returns the local loss."""
        loss: Tensor
        loss, slope = self._gradient(self._weights, images, labels, batch, self._share)
        if self._exchange:
            _all_reduce(slope)
        if self._stock is None:
            self._adam(self._weights, self._first, self._second, slope, scales)
        else:
            self._stock.step([slope])
        return loss

    def _record(self, images: Tensor, labels: Tensor) -> RecordedStep:
        """The step on these data as a CUDA graph, recorded anew when other data come."""
        place = images.data_ptr(), labels.data_ptr()
        if self._recorded is None or self._recorded[0] != place:
            self._recorded = None  # the old one's memory goes first
            recorded = RecordedStep(
                lambda batch, scales: self._step(images, labels, batch, scales),
                self._program.local_batch,
                torch.tensor(NO_STEP),
                images.device,
            )
            self._recorded = place, recorded
        return self._recorded[1]

    def _train_whole(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Several steps a call; the last call is filled up with steps that change nothing."""
        steps, chunk = len(batches), self._steps_per_call
        idle = -steps % chunk
        scales = self._scales(steps)
        if idle:
            batches = torch.cat([batches, batches[-1:].expand(idle, -1)])
            scales = torch.cat([scales, torch.tensor([NO_STEP]).expand(idle, -1)])
        losses = torch.empty(steps + idle)
        for start in range(0, steps, chunk):
            part = slice(start, start + chunk)
            losses[part] = self._several(
                self.parameters, *self.moments, images, labels, batches[part], scales[part]
            )
        return losses[:steps]

    def _scales(self, steps: int) -> Tensor:
        """Each step's factors in Adam: ``[steps, 6]``, computed in float64.

        learning_rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t), beta1, 1 - beta1, beta2, 1 - beta2.
        """
        t = np.arange(self.steps_taken + 1, self.steps_taken + steps + 1, dtype=np.float64)
        beta1, beta2 = self._program.beta1, self._program.beta2
        first = self._program.learning_rate / (1 - beta1**t)
        second = 1 / np.sqrt(1 - beta2**t)
        decays = np.tile([beta1, 1 - beta1, beta2, 1 - beta2], (steps, 1))
        scales = np.column_stack([first, second, decays])
        return torch.from_numpy(scales.astype(np.float32))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that share no memory, convolutions with their channels last in it."""
    return {
        name: tensor.clone(
            memory_format=torch.channels_last if tensor.dim() == 4 else torch.preserve_format
        )
        for name, tensor in tensors.items()
    }


def _all_reduce(tensor: Tensor) -> None:
    """Sum a tensor over the ranks, in place.

    On a CPU the waiting thread keeps its core awake for a while and gives it to whoever wants it:
    waking a core that sleeps takes longer than gloo's messages do.
    """
    if tensor.device.type != "cpu":
        dist.all_reduce(tensor)
        return
    work = dist.all_reduce(tensor, async_op=True)
    asleep_at = time.perf_counter() + AWAKE_S
    while not work.is_completed() and time.perf_counter() < asleep_at:
        os.sched_yield()
    work.wait()


def _make_room_for(program: Hashable) -> None:
    """Let torch compile this program, unless it has it already.

    torch keeps compiled programs by the place of their source, which all instances of ``Graph``
    share: one that comes back is found there. It refuses to compile more than 8 in one place; so
    before that many are there, all are dropped.
    """
    if program not in _compiled and len(_compiled) >= COMPILED_PROGRAMS:
        torch.compiler.reset()
        _compiled.clear()
    _compiled.add(program)


def _views(flat: Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The parts of a flat tensor as tensors of the given shapes."""
    parts = flat.split([math.prod(shape) for shape in shapes.values()])
    return {
        name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }

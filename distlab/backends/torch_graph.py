"""How torch runs the steps compiled.

For one CPU worker several whole steps are one program on separate parameters; elsewhere all
parameters are one flat tensor, whose gradient needs one all-reduce. ``optimizer.variant=stock``
runs ``torch.optim.Adam`` behind the compiled gradient.

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

import math
import os
import shutil
from collections.abc import Hashable, Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from distlab.backends.base import Program
from distlab.backends.torch_execution import logits
from distlab.errors import DistlabError
from distlab.models.spec import ModelSpec

STEPS_PER_CALL = 5
"""How many steps of a small model one compiled program runs, so that calls into it cost little."""
SMALL_STEP_FLOPS = 50e6
"""A step of fewer floating-point operations is small: a call from Python is some 5 % of it."""

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
        self._whole = world_size == 1 and program.optimizer == "reference"
        on_cpu = device.type == "cpu"
        if self._whole and on_cpu:  # faster apart on CPU; views that change compile badly
            self.parameters = _apart(self.parameters)
            self.moments = _apart(self.moments[0]), _apart(self.moments[1])
        small = program.local_batch * spec.training_flops < SMALL_STEP_FLOPS
        self._steps_per_call = steps_per_call = STEPS_PER_CALL if on_cpu and small else 1
        epsilon = program.epsilon

        def loss_of(weights: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            return functional.cross_entropy(logits(spec, weights, images), labels)

        def loss_of_flat(weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
            return loss_of(_views(weights, shapes), images, labels)

        def loss_of_state(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            if not on_cpu:
                return loss_of_flat(weights["all"], images, labels)
            return loss_of(weights, images, labels)

        self._state = (
            (self.parameters, *self.moments) if on_cpu else tuple({"all": part} for part in flat)
        )

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
                slopes, value = torch.func.grad_and_value(loss_of_state)(weights, x, y)
                for name, slope in slopes.items():
                    adam(weights[name], first[name], second[name], slope, scales[step])
                values.append(value)
            return torch.stack(values)

        self._several = torch.compile(
            several, fullgraph=True, dynamic=False, options={"cpp_wrapper": on_cpu}
        )
        self._gradient = torch.compile(gradient, fullgraph=True, dynamic=False)
        self._adam = torch.compile(adam, fullgraph=True, dynamic=False)
        self._stock: torch.optim.Adam | None = None
        if program.optimizer == "stock":
            self._stock = torch.optim.Adam(
                [self._weights],
                lr=program.learning_rate,
                betas=(program.beta1, program.beta2),
                eps=epsilon,
                fused=True,
            )
            self._stock.state[self._weights] = {
                "step": torch.zeros((), device=device),
                "exp_avg": self._first,
                "exp_avg_sq": self._second,
            }

    @torch.no_grad()
    def train(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Run a step for each row of ``batches``; return the local losses."""
        if self._whole:
            return self._train_whole(images, labels, batches)
        losses = torch.empty(len(batches), device=images.device)
        scales = self._scales(len(batches)).to(images.device)
        state, share = (self._weights, self._first, self._second), self._share
        for step, batch in enumerate(batches):
            losses[step], slope = self._gradient(self._weights, images, labels, batch, share)
            if self._exchange:
                dist.all_reduce(slope)
            if self._stock is None:
                self._adam(*state, slope, scales[step])
            else:
                self._stock_step(slope, self.steps_taken + step)
        self.steps_taken += len(batches)
        return losses

    def _train_whole(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Several steps a call; the last call is filled up with steps that change nothing."""
        steps, chunk = len(batches), self._steps_per_call
        idle = -steps % chunk
        scales = self._scales(steps)
        if idle:
            batches = torch.cat([batches, batches[-1:].expand(idle, -1)])
            scales = torch.cat([scales, torch.tensor([NO_STEP]).expand(idle, -1)])
        scales = scales.to(images.device)
        losses = torch.empty(steps + idle, device=images.device)
        weights, first, second = self._state
        for start in range(0, steps, chunk):
            part = slice(start, start + chunk)
            losses[part] = self._several(
                weights, first, second, images, labels, batches[part], scales[part]
            )
        self.steps_taken += steps
        return losses[:steps]

    def _stock_step(self, slope: Tensor, steps_taken: int) -> None:
        """One step of torch's own Adam on the flat tensor."""
        assert self._stock is not None
        self._stock.state[self._weights]["step"].fill_(steps_taken)
        self._weights.grad = slope
        self._stock.step()

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
    """Copies that share no memory, convolutions with their channels last in memory on CPU."""
    return {
        name: tensor.clone(
            memory_format=torch.channels_last
            if tensor.dim() == 4 and tensor.device.type == "cpu"
            else torch.preserve_format
        )
        for name, tensor in tensors.items()
    }


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

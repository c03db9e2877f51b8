"""How torch runs the steps: eagerly through DDP, or compiled on one flat tensor of parameters.

torch's own Adam is Algorithm 1 of Kingma & Ba as it stands, so that ``optimizer.variant`` makes no
difference in eager execution; compiled, ``stock`` runs ``torch.optim.Adam`` behind the gradient.

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

import math
import os
import shutil
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from distlab.backends.base import Program
from distlab.errors import DistlabError
from distlab.models.spec import Conv2D, Dense, Flatten, MaxPool2D, ModelSpec, ReLU

STEPS_PER_CALL = 5
"""How many steps of a small model one compiled program runs, so that calls into it cost little."""
SMALL_STEP_FLOPS = 50e6
"""A step of fewer floating-point operations is small: a call from Python is some 5 % of it."""

COMPILED_PROGRAMS = 4
"""How many compiled programs a process keeps; each once more for data of another size."""

_compiled: set[Hashable] = set()


class Execution(Protocol):
    """One way to run the steps; what it exposes are the live tensors of its state."""

    steps_taken: int

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The model's parameters by name."""

    @property
    def moments(self) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Adam's first and second moments by parameter name."""

    def train(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Run a step for each row of ``batches``; return the local losses."""


class Eager:
    """The module in DDP (where there are peers) and fused Adam, one kernel at a time."""

    def __init__(
        self, spec: ModelSpec, program: Program, device: torch.device, world_size: int
    ) -> None:
        module = _module(spec).to(device)
        if device.type == "cpu":
            module = module.to(memory_format=torch.channels_last)
        self.parameters = {name: module.get_parameter(name) for name in spec.parameters}
        self._model: nn.Module = module
        if world_size > 1 and program.exchange:
            self._model = DistributedDataParallel(
                module,
                device_ids=[0] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                static_graph=True,
            )
        self._optimizer = torch.optim.Adam(
            self.parameters.values(),
            lr=program.learning_rate,
            betas=(program.beta1, program.beta2),
            eps=program.epsilon,
            fused=True,
        )
        for parameter in self.parameters.values():
            self._optimizer.state[parameter] = {
                "step": torch.zeros((), device=device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    @property
    def moments(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Adam's first and second moments by parameter name."""
        state = {name: self._optimizer.state[p] for name, p in self.parameters.items()}
        return (
            {name: values["exp_avg"] for name, values in state.items()},
            {name: values["exp_avg_sq"] for name, values in state.items()},
        )

    @property
    def steps_taken(self) -> int:
        """Adam's step."""
        return int(next(iter(self._optimizer.state.values()))["step"])

    @steps_taken.setter
    def steps_taken(self, steps: int) -> None:
        for state in self._optimizer.state.values():
            state["step"].fill_(steps)

    def train(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Run a step for each row of ``batches``; return the local losses."""
        losses = torch.empty(len(batches), device=images.device)
        for step, batch in enumerate(batches):
            self._optimizer.zero_grad(set_to_none=True)
            outputs = self._model(images.index_select(0, batch))
            loss = functional.cross_entropy(outputs, labels.index_select(0, batch))
            loss.backward()
            self._optimizer.step()
            losses[step] = loss.detach()
        return losses


class Graph:
    """Forward, backward and Adam on one flat tensor of all parameters, compiled."""

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
        beta1, beta2, epsilon = program.beta1, program.beta2, program.epsilon

        def loss_of(weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
            outputs = logits(spec, _views(weights, shapes), images)
            return functional.cross_entropy(outputs, labels)

        def local(
            weights: Tensor, images: Tensor, labels: Tensor, batch: Tensor
        ) -> tuple[Tensor, Tensor]:
            x, y = images.index_select(0, batch), labels.index_select(0, batch)
            slope, value = torch.func.grad_and_value(loss_of)(weights, x, y)
            return value, slope

        def gradient(
            weights: Tensor, images: Tensor, labels: Tensor, batch: Tensor, share: Tensor
        ) -> tuple[Tensor, Tensor]:
            value, slope = local(weights, images, labels, batch)
            return value, slope * share

        def adam(
            weights: Tensor, first: Tensor, second: Tensor, slope: Tensor, scales: Tensor
        ) -> None:
            first.mul_(beta1).add_(slope, alpha=1 - beta1)
            second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
            weights.sub_(scales[0] * first / (second.sqrt() * scales[1] + epsilon))

        def several(
            weights: Parameters,
            first: Parameters,
            second: Parameters,
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

        self._gradient = torch.compile(gradient, fullgraph=True, dynamic=False)
        self._adam = torch.compile(adam, fullgraph=True, dynamic=False)
        self._stock: torch.optim.Adam | None = None
        if program.optimizer == "stock":
            self._stock = torch.optim.Adam(
                [self._weights],
                lr=program.learning_rate,
                betas=(beta1, beta2),
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
        losses = torch.empty(len(batches), device=images.device)
        scales = self._scales(len(batches)).to(images.device)
        state, share = (self._weights, self._first, self._second), self._share
        for step, batch in enumerate(batches):
            if self._world_size == 1 and self._stock is None:
                losses[step] = self._step(*state, images, labels, batch, scales[step])
                continue
            losses[step], slope = self._gradient(self._weights, images, labels, batch, share)
            if self._exchange:
                dist.all_reduce(slope)
            if self._stock is None:
                self._adam(*state, slope, scales[step])
            else:
                self._stock_step(slope, self.steps_taken + step)
        self.steps_taken += len(batches)
        return losses

    def _stock_step(self, slope: Tensor, steps_taken: int) -> None:
        """One step of torch's own Adam on the flat tensor."""
        assert self._stock is not None
        self._stock.state[self._weights]["step"].fill_(steps_taken)
        self._weights.grad = slope
        self._stock.step()

    def _scales(self, steps: int) -> Tensor:
        """Each step's learning_rate / (1 - beta1^t) and 1 / sqrt(1 - beta2^t), from float64."""
        t = np.arange(self.steps_taken + 1, self.steps_taken + steps + 1, dtype=np.float64)
        first = self._program.learning_rate / (1 - self._program.beta1**t)
        second = 1 / np.sqrt(1 - self._program.beta2**t)
        return torch.from_numpy(np.stack([first, second], axis=1).astype(np.float32))


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


def logits(spec: ModelSpec, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """The model as a function of its parameters, which are in torch's layout."""
    x = images
    for layer in spec.layers:
        match layer:
            case Dense(name=name):
                x = functional.linear(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"])
            case Conv2D(name=name, padding=padding):
                weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
                x = functional.conv2d(x, weight, bias, padding=padding)
            case ReLU():
                x = functional.relu(x)
            case MaxPool2D(size=size):
                x = functional.max_pool2d(x, size)
            case Flatten():
                x = x.flatten(1)
    return x


def _module(spec: ModelSpec) -> nn.Sequential:
    """The spec as torch layers, named so that parameters bear the spec's names."""
    module = nn.Sequential()
    for position, layer in enumerate(spec.layers):
        match layer:
            case Dense(name=name, inputs=inputs, outputs=outputs):
                module.add_module(name, nn.Linear(inputs, outputs))
            case Conv2D():
                convolution = nn.Conv2d(
                    layer.in_channels, layer.out_channels, layer.kernel, padding=layer.padding
                )
                module.add_module(layer.name, convolution)
            case ReLU():
                module.add_module(f"relu{position}", nn.ReLU())
            case MaxPool2D(size=size):
                module.add_module(f"pool{position}", nn.MaxPool2d(size))
            case Flatten():
                module.add_module(f"flatten{position}", nn.Flatten())
    return module

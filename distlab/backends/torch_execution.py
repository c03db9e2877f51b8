"""How torch runs the steps eagerly: the model as torch's layers, through DDP.

torch's own Adam is Algorithm 1 of Kingma & Ba as it stands, so that ``optimizer.variant`` makes no
difference here.

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from distlab.backends.base import Program
from distlab.models.rewrite import pool_first
from distlab.models.spec import Conv2D, Dense, Flatten, MaxPool2D, ModelSpec, ReLU


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
            for parameter in module.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
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


def logits(spec: ModelSpec, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """The model as a function of its parameters, which are in torch's layout."""
    x = images
    for layer in pool_first(spec.layers):
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
    for position, layer in enumerate(pool_first(spec.layers)):
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

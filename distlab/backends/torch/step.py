"""What torch compiles: the arithmetic of training steps as functions of tensors.

The fields of each are all that it depends on beside the tensors that it is called with, so that
equal ones compile to the same. Learning rate, betas, epsilon and step count come with each call, as
the optimizer's factors of a step (:mod:`distlab.backends.torch.optimizers.rules`).

Tensors are in torch's layout (dense weights ``[outputs, inputs]``), in the spec's order.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from distlab.backends.torch.model import logits
from distlab.backends.torch.optimizers.rules import Rule
from distlab.models.spec import ModelSpec

STEPS_PER_CALL = 2
"""How many steps of a small model one compiled program runs, so that calls into it cost little."""
SMALL_STEP_FLOPS = 50e6
"""A step of fewer floating-point operations is small: a call from Python is some 5 % of it."""


@dataclass(frozen=True)
class Loss:
    """The mean loss of a batch by the weights."""

    spec: ModelSpec
    precision: str

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Each parameter's shape."""
        return {
            name: shape[::-1] if is_dense_weight(name, len(shape)) else shape
            for name, shape in self.spec.parameters.items()
        }

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The parts of a flat tensor as tensors of the parameters' shapes."""
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def __call__(
        self,
        weights: Mapping[str, Tensor],
        running: Mapping[str, Tensor],
        images: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of these images and labels, and the running statistics behind the step."""
        bf16 = self.precision == "bf16"
        moved: dict[str, Tensor] = {}
        # Casts of weights are not kept: they would be those of an earlier step.
        with torch.autocast(images.device.type, torch.bfloat16, bf16, cache_enabled=False):
            outputs = logits(self.spec, {**weights, **running}, images, compiled=True, moved=moved)
        return functional.cross_entropy(outputs.float(), labels), moved

    @property
    def running(self) -> list[str]:
        """The names of running statistics."""
        return list(self.spec.buffers)


def is_dense_weight(name: str, sides: int) -> bool:
    """Whether an array is a matrix that torch holds transposed."""
    return name.endswith(".weight") and sides == 2


@dataclass(frozen=True)
class Gradient:
    """Loss and gradient of a batch that is gathered from a data set."""

    loss: Loss
    any_length: ClassVar[tuple[int, ...]] = (0, 1)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        batch: Tensor,
        weights: Tensor,
        share: Tensor,
        *running: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Loss and gradient by the flat ``weights``; the latter times ``share`` (``[]``).

        Running statistics are changed in place.
        """
        x, y = images.index_select(0, batch), labels.index_select(0, batch)
        statistics = dict(zip(self.loss.running, running, strict=True))

        def loss(weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return self.loss(self.loss.views(weights), statistics, x, y)

        slope, (value, moved) = torch.func.grad_and_value(loss, has_aux=True)(weights)
        for name, old in statistics.items():
            old.copy_(moved[name])
        return value, slope * share


@dataclass(frozen=True)
class WholeSteps:
    """Steps of one worker, one after the other, each with loss, gradient and optimizer."""

    loss: Loss
    rule: Rule
    any_length: ClassVar[tuple[int, ...]] = (0, 1)

    def __call__(
        self, images: Tensor, labels: Tensor, batches: Tensor, scales: Tensor, *state: Tensor
    ) -> Tensor:
        """Change weights and moments, and return the losses.

        Images are ``[n, channels, height, width]``, labels ``[n]``, indices ``[steps, batch]``,
        the optimizer's factors ``[steps, factors]``; the state is all weights, all moments of one
        kind after the other, and all running statistics.
        """
        names, count = self.loss.shapes, len(self.loss.shapes)
        weights = dict(zip(names, state[:count], strict=True))
        last = count * (1 + self.rule.moments)
        moments = [state[start : start + count] for start in range(count, last, count)]
        running = dict(zip(self.loss.running, state[last:], strict=True))
        rule: Callable[..., None] = self.rule
        values = []
        for step in range(len(batches)):
            x = images.index_select(0, batches[step])
            y = labels.index_select(0, batches[step])
            slopes, (value, moved) = torch.func.grad_and_value(self.loss, has_aux=True)(
                weights, running, x, y
            )
            for name, *held in zip(weights, *moments, strict=True):
                rule(weights[name], *held, slopes[name], scales[step])
            for name, old in running.items():
                old.copy_(moved[name])
            values.append(value)
        return torch.stack(values)


Function = Rule | Gradient | WholeSteps
"""What can be compiled; ``any_length`` are the places of those tensors that may have any length."""


def steps_per_call(spec: ModelSpec, local_batch: int) -> int:
    """How many of a model's whole steps are best compiled as one program.

    Where there are running statistics, one: a step that only fills up a call would move them.
    """
    if spec.buffers:
        return 1
    return STEPS_PER_CALL if local_batch * spec.training_flops < SMALL_STEP_FLOPS else 1

"""What torch compiles: the arithmetic of training steps as functions of tensors.

Tensors are in torch's layout (dense weights ``[outputs, inputs]``), in the spec's order.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from distlab.backends.base import Program
from distlab.backends.torch_model import logits
from distlab.models.spec import ModelSpec

STEPS_PER_CALL = 2
"""How many steps of a small model one compiled program runs, so that calls into it cost little."""
SMALL_STEP_FLOPS = 50e6
"""A step of fewer floating-point operations is small: a call from Python is some 5 % of it."""


@dataclass(frozen=True)
class Steps:
    """The steps of a model under a program; equal ones compile to the same.

    Of the program, learning rate, betas and step count come with each call, as Adam's factors
    (:meth:`distlab.backends.torch_graph.Graph`), and the exchange is not compiled.
    """

    spec: ModelSpec
    program: Program

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Each parameter's shape."""
        return {
            name: shape[::-1] if len(shape) == 2 else shape
            for name, shape in self.spec.parameters.items()
        }

    @property
    def per_call(self) -> int:
        """How many steps :meth:`several` runs."""
        small = self.program.local_batch * self.spec.training_flops < SMALL_STEP_FLOPS
        return STEPS_PER_CALL if small else 1

    def several(self, *tensors: Tensor) -> Tensor:
        """Whole steps of one worker: all weights, all first and all second moments, then
        images ``[n, channels, height, width]``, labels ``[n]``, indices ``[per_call, batch]`` and
        Adam's factors ``[per_call, 6]``. Changes the weights and moments; returns the losses.
        """
        *state, images, labels, batches, scales = tensors
        count = len(self.shapes)
        weights = dict(zip(self.shapes, state[:count], strict=True))
        first, second = state[count : 2 * count], state[2 * count :]
        values = []
        for step in range(self.per_call):
            x = images.index_select(0, batches[step])
            y = labels.index_select(0, batches[step])
            slopes, value = torch.func.grad_and_value(self._loss)(weights, x, y)
            for name, m, v in zip(weights, first, second, strict=True):
                self.adam(weights[name], m, v, slopes[name], scales[step])
            values.append(value)
        return torch.stack(values)

    def gradient(
        self, weights: Tensor, images: Tensor, labels: Tensor, batch: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and gradient by the flat ``weights``; the latter times ``share`` (``[]``)."""
        x, y = images.index_select(0, batch), labels.index_select(0, batch)

        def loss(weights: Tensor) -> Tensor:
            return self._loss(self.views(weights), x, y)

        slope, value = torch.func.grad_and_value(loss)(weights)
        return value, slope * share

    def adam(
        self, weights: Tensor, first: Tensor, second: Tensor, slope: Tensor, scales: Tensor
    ) -> None:
        """Algorithm 1 of Kingma & Ba (2015), in place, with its factors of one step ``[6]``."""
        first.mul_(scales[2]).add_(slope * scales[3])
        second.mul_(scales[4]).add_(slope * slope * scales[5])
        weights.sub_(scales[0] * first / (second.sqrt() * scales[1] + self.program.epsilon))

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The parts of a flat tensor as tensors of the parameters' shapes."""
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def _loss(self, weights: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        bf16 = self.program.precision == "bf16"
        # Casts of weights are not kept: they would be those of an earlier step.
        with torch.autocast(images.device.type, torch.bfloat16, bf16, cache_enabled=False):
            outputs = logits(self.spec, weights, images, compiled=True)
        return functional.cross_entropy(outputs.float(), labels)

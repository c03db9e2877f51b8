"""Paddle's own optimizers, and their state.

Paddle's Adam *is* Algorithm 1 of Kingma & Ba (2015): epsilon is added to the bias-corrected root
(the kernel scales it by ``sqrt(1 - beta2^t)`` instead of dividing the root by it, which is the same
formula). Its running powers of the betas are float32, as are its betas themselves, and since the
moments are averaged with the same float32 betas the corrections stay consistent. So the optimizers
``reference`` and ``stock`` run the same code here. AdamW, Momentum and SGD are the formulas of
:class:`distlab.backends.base.Program`, too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from distlab.backends.base import MOMENTS, OptimizerState, Program
from distlab.backends.paddle.importing import paddle
from distlab.models.weights import Weights

KINDS = {"adam": ("moment1", "moment2"), "adamw": ("moment1", "moment2"), "sgd": ("velocity",)}
"""What Paddle calls the moments of each optimizer."""


class Optimizer:
    """A program's optimizer over a model's parameters, in its zero state.

    Parameters
    ----------
    program:
        Which optimizer, and its constants.
    parameters:
        By name; all zero, for a first step is taken with zero gradients.
    """

    def __init__(self, program: Program, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._rate = program.learning_rate
        self.step = 0
        self.paddles = _paddles(program, list(parameters.values()))
        one_call = {"adam": "Adam", "sgd": "Momentum" * bool(program.momentum)}.get(program.rule)
        self.told = [f"{one_call} over all parameters in one call"] if one_call else []
        adam = program.rule != "sgd"
        betas = {"beta1_pow_acc": program.beta1, "beta2_pow_acc": program.beta2}
        self._betas = betas if adam else {}
        self._kinds = KINDS[program.rule][: len(program.moments)]
        # Paddle makes its state in the first step.
        for parameter in parameters.values():
            parameter.grad = paddle.zeros_like(parameter)
        self.take(self._rate)

    def take(self, rate: float) -> None:
        """Take a step by the parameters' gradients, at a learning rate, and forget these."""
        if rate != self._rate:
            self.paddles.set_lr(rate)
            self._rate = rate
        self.paddles.step()
        self.paddles.clear_grad(set_to_zero=False)

    def _tensors(self, kind: str) -> dict[str, Any]:
        """Tensors of one kind (``moment1``, ``beta1_pow_acc`` ...) by parameter name."""
        state = self.paddles.state_dict()
        return {
            name: state[f"{parameter.name}_{kind}_0"]
            for name, parameter in self._parameters.items()
        }

    def set(self, state: OptimizerState) -> None:
        """Set the moments, and the powers of the betas as Paddle had them after these steps."""
        for kind, moment in zip(self._kinds, MOMENTS, strict=False):
            values = getattr(state, moment)
            for name, tensor in self._tensors(kind).items():
                tensor.set_value(values[name])
        for kind, beta in self._betas.items():
            # Paddle multiplies in float32, step by step, and holds the next step's power.
            power = np.cumprod(np.full(state.step + 1, beta, np.float32), dtype=np.float32)[-1:]
            for tensor in self._tensors(kind).values():
                tensor.get_tensor().set(power, paddle.CPUPlace())  # set_value moves it to a GPU
        self.step = state.step

    def get(self) -> OptimizerState:
        """The moments as copies; the steps are counted here, for Paddle counts none."""
        found: list[Weights] = [
            {name: tensor.numpy().copy() for name, tensor in self._tensors(kind).items()}
            for kind in self._kinds
        ]
        return OptimizerState(self.step, *[*found, {}, {}][:2])


def _paddles(program: Program, parameters: list[Any]) -> Any:
    """Paddle's optimizer, over all parameters in one call where it can."""
    given: dict[str, Any] = {"learning_rate": program.learning_rate, "parameters": parameters}
    decay = program.weight_decay
    if program.rule == "sgd" and not program.momentum:
        return paddle.optimizer.SGD(weight_decay=decay or None, **given)
    if program.rule == "sgd":
        return paddle.optimizer.Momentum(
            momentum=program.momentum,
            use_nesterov=program.nesterov,
            weight_decay=decay or None,
            use_multi_tensor=True,
            **given,
        )
    given |= {"beta1": program.beta1, "beta2": program.beta2, "epsilon": program.epsilon}
    if program.rule == "adamw":
        return paddle.optimizer.AdamW(weight_decay=decay, **given)
    return paddle.optimizer.Adam(use_multi_tensor=True, **given)

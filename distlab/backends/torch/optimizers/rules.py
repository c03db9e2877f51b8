"""The optimizers as torch compiles them: functions that change weights and moments in place.

Each is called with the weights, its moments, the gradient and a step's factors ``[factors]``, in
which learning rate and constants come, so that no rate compiles anything anew. The factors are
computed in float64 and rounded to float32. Formulas and their sources are told in
:class:`distlab.backends.base.Program`.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distlab.backends.base import Program


@dataclass(frozen=True)
class Adam:
    """Algorithm 1 of Kingma & Ba (2015).

    Attributes
    ----------
    moments:
        How many there are for each parameter.
    idle:
        The factors of a step that leaves weights and moments as they are.
    """

    any_length: ClassVar[tuple[int, ...]] = ()
    moments: ClassVar[int] = 2
    idle: ClassVar[tuple[float, ...]] = (0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0)

    def __call__(
        self, weights: Tensor, first: Tensor, second: Tensor, slope: Tensor, scales: Tensor
    ) -> None:
        """One step, with its factors ``[7]``."""
        first.mul_(scales[2]).add_(slope * scales[3])
        second.mul_(scales[4]).add_(slope * slope * scales[5])
        weights.sub_(scales[0] * first / (second.sqrt() * scales[1] + scales[6]))

    def factors(
        self, program: Program, taken: int, rates: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Of steps at these rates when so many steps were taken: ``[steps, 7]``.

        rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t), beta1, 1 - beta1, beta2, 1 - beta2, epsilon.
        """
        t = np.arange(taken + 1, taken + len(rates) + 1, dtype=np.float64)
        beta1, beta2 = program.beta1, program.beta2
        first, second = rates / (1 - beta1**t), 1 / np.sqrt(1 - beta2**t)
        constants = beta1, 1 - beta1, beta2, 1 - beta2, program.epsilon
        scales = np.column_stack([first, second, np.tile(constants, (len(rates), 1))])
        return scales.astype(np.float32)


@dataclass(frozen=True)
class AdamW:
    """Algorithm 2 of Loshchilov & Hutter (2019)."""

    any_length: ClassVar[tuple[int, ...]] = ()
    moments: ClassVar[int] = 2
    idle: ClassVar[tuple[float, ...]] = (*Adam.idle, 1.0)

    def __call__(
        self, weights: Tensor, first: Tensor, second: Tensor, slope: Tensor, scales: Tensor
    ) -> None:
        """One step, with its factors ``[8]``."""
        weights.mul_(scales[7])
        Adam()(weights, first, second, slope, scales)

    def factors(
        self, program: Program, taken: int, rates: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Those of :class:`Adam`, and 1 - rate * weight_decay: ``[steps, 8]``."""
        decay = (1 - rates * program.weight_decay).astype(np.float32)
        return np.column_stack([Adam().factors(program, taken, rates), decay])


@dataclass(frozen=True)
class Descent:
    """Stochastic gradient descent without momentum."""

    any_length: ClassVar[tuple[int, ...]] = ()
    moments: ClassVar[int] = 0
    idle: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0, 0.0)

    def __call__(self, weights: Tensor, slope: Tensor, scales: Tensor) -> None:
        """One step, with its factors ``[4]``."""
        weights.sub_(scales[0] * (slope + scales[2] * weights))

    def factors(
        self, program: Program, taken: int, rates: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """rate, momentum, weight_decay, and 1 for what the velocity takes: ``[steps, 4]``."""
        constants = program.momentum, program.weight_decay, 1.0
        scales = np.column_stack([rates, np.tile(constants, (len(rates), 1))])
        return scales.astype(np.float32)


@dataclass(frozen=True)
class Momentum:
    """Stochastic gradient descent with momentum: equation 9 of Goyal et al. (2017)."""

    nesterov: bool
    any_length: ClassVar[tuple[int, ...]] = ()
    moments: ClassVar[int] = 1
    idle: ClassVar[tuple[float, ...]] = (0.0, 1.0, 0.0, 0.0)

    def __call__(self, weights: Tensor, velocity: Tensor, slope: Tensor, scales: Tensor) -> None:
        """One step, with its factors ``[4]``: those of :class:`Descent`."""
        slope = slope + scales[2] * weights
        velocity.mul_(scales[1]).add_(slope * scales[3])
        change = slope + scales[1] * velocity if self.nesterov else velocity
        weights.sub_(scales[0] * change)

    def factors(
        self, program: Program, taken: int, rates: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Those of :class:`Descent`."""
        return Descent().factors(program, taken, rates)


Rule = Adam | AdamW | Descent | Momentum
"""What can be compiled."""


def rule(program: Program) -> Rule:
    """The optimizer of a program."""
    if program.rule == "sgd":
        return Momentum(program.nesterov) if program.momentum else Descent()
    return AdamW() if program.rule == "adamw" else Adam()

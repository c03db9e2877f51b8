"""The oracle's optimizers beside Adam, in float64, and the choice of one by a program.

Formulas and their sources are told in :class:`distlab.backends.base.Program`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Program
from distlab.fairness.reference import Adam, Parameters

Gradients = Mapping[str, NDArray[np.float64]]
Updated = dict[str, NDArray[np.float64]]


class AdamW(Adam):
    """Adam with decoupled weight decay, as Loshchilov & Hutter (2019), Algorithm 2, writes it.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon:
        As of :class:`~distlab.fairness.reference.Adam`.
    weight_decay:
        Multiplied by the rate in each step.
    """

    def __init__(
        self,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon)
        self.weight_decay = weight_decay

    def step(self, weights: Parameters, gradients: Gradients, rate: float | None = None) -> Updated:
        """See :meth:`distlab.fairness.reference.Adam.step`."""
        rate = self.learning_rate if rate is None else rate
        updated = super().step(weights, gradients, rate)
        return {
            name: array - rate * self.weight_decay * np.asarray(weights[name], np.float64)
            for name, array in updated.items()
        }


class Sgd:
    """Stochastic gradient descent, as Goyal et al. (2017), equation 9, writes it.

    Parameters
    ----------
    learning_rate, momentum, weight_decay:
        The paper's eta and m; weights times the decay are added to the gradient.
    nesterov:
        Whether the velocity's next step is looked ahead to (Bengio et al. 2013, section 3.5).

    Attributes
    ----------
    t:
        Steps taken so far.
    m:
        The velocity by parameter name; empty before the first step, and without momentum.
    v:
        Empty: there is no second moment.
    """

    def __init__(
        self,
        learning_rate: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate, self.momentum = learning_rate, momentum
        self.nesterov, self.weight_decay = nesterov, weight_decay
        self.t = 0
        self.m: dict[str, NDArray[np.float64]] = {}
        self.v: dict[str, NDArray[np.float64]] = {}

    def step(self, weights: Parameters, gradients: Gradients, rate: float | None = None) -> Updated:
        """See :meth:`distlab.fairness.reference.Adam.step`."""
        rate = self.learning_rate if rate is None else rate
        self.t += 1
        updated = {}
        for name, gradient in gradients.items():
            before = np.asarray(weights[name], np.float64)
            slope = gradient + self.weight_decay * before
            change = slope
            if self.momentum:
                self.m[name] = self.momentum * self.m.get(name, 0.0) + slope
                change = slope + self.momentum * self.m[name] if self.nesterov else self.m[name]
            updated[name] = before - rate * change
        return updated


Oracle = Adam | Sgd
"""The optimizers that there are."""


def of(program: Program) -> Oracle:
    """The optimizer of a program, before its first step."""
    if program.rule == "sgd":
        own = program.momentum, program.nesterov, program.weight_decay
        return Sgd(program.learning_rate, *own)
    constants = program.learning_rate, program.beta1, program.beta2, program.epsilon
    if program.rule == "adamw":
        return AdamW(*constants, program.weight_decay)
    return Adam(*constants)

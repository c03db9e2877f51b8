"""What every optimizer step computes, and the state that it leaves.

This is the mathematical part of the contract :mod:`distlab.backends.base`, which hands it on.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights

MOMENTS = ("first_moment", "second_moment")
"""The arrays of :class:`OptimizerState`."""


@dataclass(frozen=True)
class Program:
    """What every optimizer step computes, apart from the model.

    With weights w, a step's gradient g, rate r and number t from 1, by what ``rule`` names:

    - ``adam``: Kingma & Ba (2015), "Adam: A Method for Stochastic Optimization", Algorithm 1:
      ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g^2``,
      ``w = w - r (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)``. Epsilon is added to
      the bias-corrected root, and the corrections are computed in float64.
    - ``adamw``: Loshchilov & Hutter (2019), "Decoupled Weight Decay Regularization", Algorithm 2:
      the same with ``- r weight_decay w`` besides, of w before the step. The rate multiplies both
      terms, as in PyTorch and Paddle; the paper multiplies its decay by the schedule alone.
    - ``sgd``: Goyal et al. (2017), "Accurate, Large Minibatch SGD", equation 9, the rate outside
      the velocity: ``v = momentum v + g + weight_decay w``, ``w = w - r v``. With ``nesterov``
      ``w = w - r (g + weight_decay w + momentum v)`` (Sutskever et al. 2013, "On the importance of
      initialization and momentum in deep learning", in the variables of Bengio et al. 2013,
      "Advances in optimizing recurrent networks", section 3.5).

    Weights decay in all parameters, biases and those of normalizations among them.

    Attributes
    ----------
    local_batch:
        Samples of one step on this rank.
    learning_rate:
        The rate of steps for which :meth:`Backend.train` is given none.
    beta1, beta2, epsilon:
        Constants of ``adam`` and ``adamw``.
    optimizer:
        ``reference`` for the optimizer as written above, ``stock`` for the framework's own Adam
        with the same constants and a constant rate.
    execution:
        ``eager`` (imperative) or ``graph`` (compiled); one of :attr:`Backend.executions`.
    precision:
        How products of matrices and convolutions are rounded; all else, and the weights, is
        float32. ``fp32``: not at all. ``tf32``: an NVIDIA GPU may round their operands to
        TensorFloat-32 (10 bits of mantissa). ``bf16``: operands and results are bfloat16 (7 bits),
        forward and backward; evaluation stays ``fp32``. One of :attr:`Backend.precisions`.
    exchange:
        Whether gradients are averaged over the ranks. False only serves to measure what that costs:
        each rank applies its own local gradient and :meth:`Backend.train` communicates nothing, so
        that the ranks' weights part; all else is the same. It makes no difference to one rank.
    rule:
        Which optimizer: ``adam``, ``adamw`` or ``sgd``; one of :attr:`Backend.optimizers`.
    weight_decay:
        Of ``adamw`` and ``sgd``.
    momentum, nesterov:
        Of ``sgd``.
    """

    local_batch: int
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    optimizer: Literal["reference", "stock"] = "reference"
    execution: Literal["eager", "graph"] = "eager"
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    exchange: bool = True
    rule: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False

    @property
    def moments(self) -> tuple[str, ...]:
        """Which arrays of :class:`OptimizerState` there are for each parameter."""
        if self.rule == "sgd":
            return MOMENTS[:1] if self.momentum else ()
        return MOMENTS

    def rates(self, steps: int) -> NDArray[np.float64]:
        """The learning rates of so many steps where no others are given: ``[steps]``."""
        return np.full(steps, self.learning_rate)


@dataclass(frozen=True)
class OptimizerState:
    """The optimizer's state in the canonical layout, equal on all ranks.

    Attributes
    ----------
    step:
        Number of steps taken (``t`` of :class:`Program`); 0 before the first.
    first_moment, second_moment:
        ``m`` and ``v`` of ``adam`` and ``adamw`` by parameter name. ``sgd`` has its velocity as
        first moment and no second; without momentum it has neither.
    """

    step: int
    first_moment: Weights
    second_moment: Weights

    @classmethod
    def zero(cls, spec: ModelSpec, moments: Collection[str] = MOMENTS) -> "OptimizerState":
        """The state before the first step: step 0 and zeros.

        Parameters
        ----------
        spec:
            The model.
        moments:
            Which arrays there are: :attr:`Program.moments`; by default both, as in Adam.
        """

        def zeros(moment: str) -> Weights:
            shapes = spec.parameters.items() if moment in moments else ()
            return {name: np.zeros(shape, np.float32) for name, shape in shapes}

        return cls(0, *map(zeros, MOMENTS))

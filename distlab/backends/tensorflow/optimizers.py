"""Optimizers for TensorFlow: the fairness contract's on fused operations, and Keras's own Adam.

Each has ``moments``, one list of variables for each of :attr:`Program.moments`; ``step``, how many
steps were taken; and ``columns``, how many constants a step has.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distlab.backends.base import Program


class ReferenceAdam:
    """Adam as in Kingma & Ba (2015), Algorithm 1, on TensorFlow's fused ``ResourceApplyAdam``.

    The fused op computes ``w -= rate * m / (sqrt(v) + epsilon)``. With
    ``rate = learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t)`` and an epsilon multiplied by
    ``sqrt(1 - beta2**t)``, both computed in float64 for each step, this is Algorithm 1, whose
    epsilon is added to the bias-corrected root. The betas in these corrections are those that the
    op has in float32, so that the averages' weights add up to 1.

    ``adamw`` lets the weights decay before that, all by one factor.
    """

    def __init__(self, program: Program, variables: Sequence[tf.Variable]) -> None:
        self.program = program
        self.step = 0
        # Tensors, because op by op a Python number would go to the device for every variable.
        self.zero, self.beta1, self.beta2 = map(tf.constant, (0.0, program.beta1, program.beta2))
        self.moments = [_zeros(variables), _zeros(variables)]
        self._decays = program.rule == "adamw"
        self.columns = 3 if self._decays else 2

    def schedule(self, rates: NDArray[np.float64]) -> NDArray[np.float32]:
        """Constants of the next steps, which have these learning rates; counts them.

        ``[steps, columns]``: the op's rate and epsilon, and by what weights decay.
        """
        t = np.arange(self.step + 1, self.step + len(rates) + 1)
        self.step += len(rates)
        beta1, beta2 = (np.float64(np.float32(b)) for b in (self.program.beta1, self.program.beta2))
        root = np.sqrt(1 - beta2**t)
        rows = [rates * root / (1 - beta1**t), self.program.epsilon * root]
        if self._decays:
            rows.append(rates * self.program.weight_decay)
        return np.stack(rows, axis=1).astype(np.float32)

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], constants: tf.Tensor
    ) -> None:
        """Update the variables in place; ``constants`` is one row of :meth:`schedule`."""
        rate, epsilon, *decay = tf.unstack(constants)
        for variable, m, v, gradient in zip(variables, *self.moments, gradients, strict=True):
            if decay:
                variable.assign_sub(decay[0] * variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=self.zero,
                beta2_power=self.zero,
                lr=rate,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=epsilon,
                grad=gradient,
            )


class Descent:
    """Stochastic gradient descent, with momentum or without, on TensorFlow's fused operations.

    ``ResourceApplyMomentum`` has the rate outside the velocity, as the contract has it; Keras's SGD
    has it inside.
    """

    columns = 1

    def __init__(self, program: Program, variables: Sequence[tf.Variable]) -> None:
        self.program = program
        self.step = 0
        self.momentum, self.decay = map(tf.constant, (program.momentum, program.weight_decay))
        self.moments = [_zeros(variables) for _ in program.moments]

    def schedule(self, rates: NDArray[np.float64]) -> NDArray[np.float32]:
        """The rates as they are, ``[steps, 1]``; counts them."""
        self.step += len(rates)
        return rates[:, np.newaxis].astype(np.float32)

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], constants: tf.Tensor
    ) -> None:
        """Update the variables in place; ``constants`` is one row of :meth:`schedule`."""
        rate = constants[0]
        for variable, gradient, *velocity in zip(variables, gradients, *self.moments, strict=True):
            slope = gradient + self.decay * variable if self.program.weight_decay else gradient
            if velocity:
                tf.raw_ops.ResourceApplyMomentum(
                    var=variable.handle,
                    accum=velocity[0].handle,
                    lr=rate,
                    grad=slope,
                    momentum=self.momentum,
                    use_nesterov=self.program.nesterov,
                )
            else:
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=variable.handle, alpha=rate, delta=slope
                )


class StockAdam:
    """Keras's own Adam, which adds epsilon to the root before the bias correction."""

    columns = 1

    def __init__(self, program: Program, variables: Sequence[tf.Variable]) -> None:
        self.adam = keras.optimizers.Adam(
            program.learning_rate, program.beta1, program.beta2, program.epsilon
        )
        self.adam.build(variables)
        held = self.adam._momentums, self.adam._velocities
        self.moments = [[moment.value for moment in kind] for kind in held]

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.adam.iterations.numpy())

    @step.setter
    def step(self, step: int) -> None:
        self.adam.iterations.assign(step)

    def schedule(self, rates: NDArray[np.float64]) -> NDArray[np.float32]:
        """Nothing: Keras computes its constants itself, and has one rate."""
        return np.zeros((len(rates), 1), np.float32)

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], constants: tf.Tensor
    ) -> None:
        """Update the variables in place."""
        self.adam.apply(gradients, variables)


Optimizer = ReferenceAdam | Descent | StockAdam
"""What there is."""


def optimizer(program: Program, variables: Sequence[tf.Variable]) -> Optimizer:
    """A program's optimizer over the model's trainable variables, before its first step."""
    if program.optimizer == "stock":
        return StockAdam(program, variables)
    return (Descent if program.rule == "sgd" else ReferenceAdam)(program, variables)


def _zeros(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    return [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in variables]

"""Adam for TensorFlow: the fairness contract's, and Keras's own."""

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
    """

    def __init__(self, program: Program, variables: Sequence[tf.Variable]) -> None:
        self.program = program
        self.step = 0
        # Tensors, because op by op a Python number would go to the device for every variable.
        self.zero, self.beta1, self.beta2 = map(tf.constant, (0.0, program.beta1, program.beta2))
        self.first_moments = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.second_moments = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]

    def schedule(self, steps: int) -> NDArray[np.float32]:
        """Rate and epsilon of each of the next ``steps`` steps, ``[steps, 2]``; counts them."""
        t = np.arange(self.step + 1, self.step + steps + 1)
        self.step += steps
        beta1, beta2 = (np.float64(np.float32(b)) for b in (self.program.beta1, self.program.beta2))
        root = np.sqrt(1 - beta2**t)
        rate = self.program.learning_rate * root / (1 - beta1**t)
        return np.stack([rate, self.program.epsilon * root], axis=1).astype(np.float32)

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], constants: tf.Tensor
    ) -> None:
        """Update the variables in place; ``constants`` is one row of :meth:`schedule`."""
        rate, epsilon = tf.unstack(constants)
        for variable, m, v, gradient in zip(
            variables, self.first_moments, self.second_moments, gradients, strict=True
        ):
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


class StockAdam:
    """Keras's own Adam, which adds epsilon to the root before the bias correction."""

    def __init__(self, program: Program, variables: Sequence[tf.Variable]) -> None:
        self.adam = keras.optimizers.Adam(
            program.learning_rate, program.beta1, program.beta2, program.epsilon
        )
        self.adam.build(variables)
        self.first_moments = [moment.value for moment in self.adam._momentums]
        self.second_moments = [moment.value for moment in self.adam._velocities]

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.adam.iterations.numpy())

    @step.setter
    def step(self, step: int) -> None:
        self.adam.iterations.assign(step)

    def schedule(self, steps: int) -> NDArray[np.float32]:
        """Nothing: Keras computes its constants itself."""
        return np.zeros((steps, 2), np.float32)

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], constants: tf.Tensor
    ) -> None:
        """Update the variables in place."""
        self.adam.apply(gradients, variables)

"""The parts of a TensorFlow step, added one after the other, on the objects of distlab's backend.

Each is a loop in one graph, as in the backend. TensorFlow prunes what nobody uses, so one element
of every result is added up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def product(size: int) -> Callable[[], Any]:
    """What multiplies two matrices of ``size`` rows and columns."""
    matrix = tf.reshape(tf.linspace(-1.0, 1.0, size**2), [size, size])
    return lambda: tf.matmul(matrix, matrix)[0, 0].numpy()


def stages(backend: Any, spec: Any, indices: np.ndarray) -> dict[str, Callable[[], Any]]:
    """By name, what runs a part of the step for each row of ``indices``."""
    images, labels = backend._train_data
    variables = backend._variables

    def gather(images: tf.Tensor, labels: tf.Tensor, batch: tf.Tensor) -> Sequence[tf.Tensor]:
        return tf.gather(images, batch), tf.cast(tf.gather(labels, batch), tf.float32)

    def forward(images: tf.Tensor, labels: tf.Tensor, batch: tf.Tensor) -> Sequence[tf.Tensor]:
        _, losses = backend._loss(tf.gather(images, batch), tf.gather(labels, batch))
        return (losses,)

    def backward(images: tf.Tensor, labels: tf.Tensor, batch: tf.Tensor) -> Sequence[tf.Tensor]:
        with tf.GradientTape() as tape:
            _, losses = backend._loss(tf.gather(images, batch), tf.gather(labels, batch))
            loss = tf.reduce_mean(losses)
        return tape.gradient(loss, variables)

    def loop(part: Callable[..., Sequence[tf.Tensor]]) -> Callable[[], Any]:
        @tf.function
        def span(images: tf.Tensor, labels: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
            total = tf.constant(0.0)
            for i in tf.range(tf.shape(indices)[0]):
                for result in part(images, labels, indices[i]):
                    total += tf.reshape(result, [-1])[0]
            return total

        return lambda: span(images, labels, tf.constant(indices)).numpy()

    return {"gather": loop(gather), "forward": loop(forward), "backward": loop(backward)}

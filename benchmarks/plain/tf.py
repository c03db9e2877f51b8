"""ResNet-20 and the small transformer as Keras' guides write them, with a loop of one's own."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

layers = tf.keras.layers


def _conv(x: tf.Tensor, channels: int, stride: int = 1) -> tf.Tensor:
    # "same" would put all padding of a stride of 2 behind.
    x = layers.ZeroPadding2D(1)(x) if stride > 1 else x
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(channels, 3, stride, padding, use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def _block(x: tf.Tensor, channels: int, stride: int) -> tf.Tensor:
    y = layers.ReLU()(_conv(x, channels, stride))
    y = _conv(y, channels)
    if stride > 1:
        before = channels // 4
        x = layers.Lambda(
            lambda x: tf.pad(x[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [before, before]]),
            output_shape=tuple(y.shape[1:]),
        )(x)
    return layers.ReLU()(layers.Add()([x, y]))


def resnet20(shape: tuple[int, int, int]) -> tf.keras.Model:
    """Three stages of 16, 32 and 64 channels, three blocks each; shortcuts without parameters."""
    inputs = tf.keras.Input((shape[1], shape[2], shape[0]))
    x = layers.ReLU()(_conv(inputs, 16))
    for channels in (16, 32, 64):
        for block in range(3):
            x = _block(x, channels, 2 if block == 0 and channels > 16 else 1)
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    return tf.keras.Model(inputs, outputs)


class Places(layers.Layer):
    """A trained vector for each token's place, added."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the vectors."""
        self.places = self.add_weight(shape=shape[1:], initializer="random_normal")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Add them."""
        return x + self.places


def transformer(shape: tuple[int, int, int]) -> tf.keras.Model:
    """Patches of 4 x 4, four blocks, the mean of all tokens."""
    inputs = tf.keras.Input((shape[1], shape[2], shape[0]))
    x = layers.Conv2D(64, 4, 4)(inputs)
    x = Places()(layers.Reshape((-1, 64))(x))
    for _ in range(4):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 16)(y, y)])
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        x = layers.Add()([x, layers.Dense(64)(layers.Dense(256, activation="gelu")(y))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-5)(x))
    return tf.keras.Model(inputs, layers.Dense(10)(x))


def loop(
    model: str, execution: str, images: np.ndarray, labels: np.ndarray
) -> tuple[int, Callable[[np.ndarray], float]]:
    """How many parameters, and what trains a step for each row of indices; the last loss."""
    shape = images.shape[1:]
    network = resnet20(shape) if model == "resnet20" else transformer(shape)
    loss_fn = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.Adam(1e-3)
    images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, network(x, training=True))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    run = tf.function(step) if execution == "graph" else step

    def train(indices: np.ndarray) -> float:
        loss = tf.constant(0.0)
        for batch in indices:
            loss = run(tf.constant(images[batch]), tf.constant(labels[batch]))
        return float(loss)

    return sum(int(np.prod(v.shape)) for v in network.trainable_variables), train

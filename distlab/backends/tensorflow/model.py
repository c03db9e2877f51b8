"""The spec's layers as ``tf.nn`` operations, and how TensorFlow stores their parameters.

Images are NHWC and convolution weights HWIO, the layouts of TensorFlow's CPU kernels; on a GPU its
layout optimizer transposes where cuDNN prefers another.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distlab.backends.common.unknown_layer import unknown_layer
from distlab.backends.tensorflow.blocked_conv import blocked
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distlab.models.rewrite import pool_first
from distlab.models.spec import ModelSpec


@dataclass(frozen=True)
class Layout:
    """How one parameter is stored: reshape to ``axes``, permute by ``order``, then ``stored``.

    Convolution weights go from OIHW to HWIO. The rows of the dense layer behind a ``Flatten`` go
    from channel, height, width to height, width, channel order, in which NHWC images are flattened.
    """

    canonical: tuple[int, ...]
    axes: tuple[int, ...]
    order: tuple[int, ...]
    stored: tuple[int, ...]

    def to_stored(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """The canonical array as it is stored."""
        return array.reshape(self.axes).transpose(self.order).reshape(self.stored)

    def to_canonical(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inverse of :meth:`to_stored`, as a C-contiguous copy."""
        permuted = array.reshape([self.axes[axis] for axis in self.order])
        return permuted.transpose(np.argsort(self.order)).reshape(self.canonical).copy("C")


def layouts(spec: ModelSpec) -> dict[str, Layout]:
    """The layout of each parameter by name, in the spec's order."""
    found = {
        name: Layout(shape, shape, tuple(range(len(shape))), shape)
        for name, shape in spec.parameters.items()
    }
    shape, flattened = spec.input_shape, None
    for layer, output in zip(spec.layers, spec.shapes(), strict=True):
        if isinstance(layer, Flatten) and len(shape) == 3:
            flattened = shape
        elif isinstance(layer, Conv2D):
            o, i, h, w = spec.parameters[f"{layer.name}.weight"]
            found[f"{layer.name}.weight"] = Layout(
                (o, i, h, w), (o, i, h, w), (2, 3, 1, 0), (h, w, i, o)
            )
        elif isinstance(layer, Dense) and flattened is not None:
            weight = (layer.inputs, layer.outputs)
            found[f"{layer.name}.weight"] = Layout(
                weight, (*flattened, layer.outputs), (1, 2, 0, 3), weight
            )
            flattened = None
        shape = output
    return found


def _padding(layer: Conv2D) -> str | list[list[int]]:
    """The padding as TensorFlow names it; explicit sizes make its CPU kernel twice as slow."""
    if layer.padding == 0:
        return "VALID"
    if 2 * layer.padding == layer.kernel - 1:
        return "SAME"
    sides = [layer.padding, layer.padding]
    return [[0, 0], sides, sides, [0, 0]]


def logits(
    spec: ModelSpec,
    variables: Mapping[str, tf.Variable],
    images: tf.Tensor,
    compute: tf.DType = tf.float32,
    *,
    blocks: bool = False,
) -> tf.Tensor:
    """The model's outputs for NHWC images, in float32.

    Operands and results of dense layers and convolutions have the type ``compute``; biases are
    added, and all else is computed, in float32. ``blocks``: convolutions with few channels are
    computed by blocks of pixels (:mod:`distlab.backends.tensorflow.blocked_conv`), for CPUs.
    """
    x = images
    layers = pool_first(spec.layers)
    by_blocks = blocked(spec, layers) if blocks else {}
    for place, layer in enumerate(layers):
        match layer:
            case Dense(name=name):
                weight = tf.cast(variables[f"{name}.weight"], compute)
                x = tf.cast(tf.matmul(tf.cast(x, compute), weight), tf.float32)
                x = tf.nn.bias_add(x, variables[f"{name}.bias"])
            case Conv2D(name=name) if place in by_blocks:
                weight, bias = (variables[f"{name}.{kind}"] for kind in ("weight", "bias"))
                x = by_blocks[place](x, weight, bias, compute)
            case Conv2D(name=name):
                weight = tf.cast(variables[f"{name}.weight"], compute)
                x = tf.nn.conv2d(tf.cast(x, compute), weight, strides=1, padding=_padding(layer))
                x = tf.nn.bias_add(tf.cast(x, tf.float32), variables[f"{name}.bias"])
            case ReLU():
                x = tf.nn.relu(x)
            case MaxPool2D() if place - 1 in by_blocks:
                pass  # in the blocks already
            case MaxPool2D(size=size):
                x = tf.nn.max_pool2d(x, size, strides=size, padding="VALID")
            case Flatten():
                x = tf.reshape(x, [-1, math.prod(x.shape[1:])])
            case _:
                raise unknown_layer(layer, "tensorflow")
    return x

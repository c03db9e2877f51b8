"""Any layer of the reference by its kind, and layers one after the other."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...models.layers import (
    GELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    MaxPool2D,
    PatchEmbedding,
    PositionEmbedding,
    ReLU,
    Residual,
    SelfAttention,
    Shrink,
    Sigmoid,
    Tanh,
)
from . import attention, normalization, pointwise, pooling, products
from .passing import Array, Backward, Pass

Given = Callable[[int, Array], Array]
"""From the place of a layer in a list and its input to the input that it is given instead."""


def forward(layer: Layer, given: Pass, x: Array) -> tuple[Array, Backward]:
    """A layer's output, and its backward pass.

    Raises
    ------
    TypeError
        If the reference does not know this kind of layer.
    """
    match layer:
        case Dense():
            return products.dense(layer, given, x)
        case Conv2D():
            return products.conv2d(layer, given, x)
        case PatchEmbedding():
            return products.patch_embedding(layer, given, x)
        case ReLU():
            return pointwise.relu(x)
        case GELU():
            return pointwise.gelu(x)
        case Tanh():
            return pointwise.tanh(x)
        case Sigmoid():
            return pointwise.sigmoid(x)
        case MaxPool2D():
            return pooling.max_pool2d(layer, x)
        case AvgPool2D():
            return pooling.avg_pool2d(layer, x)
        case GlobalAvgPool():
            return pooling.global_avg_pool(x)
        case Flatten():
            return x.reshape(len(x), math.prod(x.shape[1:])), lambda dy: (dy.reshape(x.shape), {})
        case BatchNorm():
            return normalization.batch_norm(layer, given, x)
        case LayerNorm():
            return normalization.layer_norm(layer, given, x)
        case PositionEmbedding():
            return attention.position_embedding(layer, given, x)
        case SelfAttention():
            return attention.self_attention(layer, given, x)
        case Residual():
            return _residual(layer, given, x)
        case Shrink():
            return _shrink(layer, x)
        case _:
            raise TypeError(f"the float64 reference has no case for {type(layer).__name__}")


def through(
    layers: Sequence[Layer], given: Pass, x: Array, instead: Given = lambda place, x: x
) -> tuple[Array, Backward]:
    """The output of layers one after the other, and their backward pass."""
    tape: list[Backward] = []
    for place, layer in enumerate(layers):
        x, one = forward(layer, given, instead(place, x))
        tape.append(one)

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        gradients: dict[str, Array] = {}
        for one in reversed(tape):
            dy, found = one(dy)
            gradients |= found
        return dy, gradients

    return x, backward


def _residual(layer: Residual, given: Pass, x: Array) -> tuple[Array, Backward]:
    body, from_body = through(layer.body, given, x)
    shortcut, from_shortcut = through(layer.shortcut, given, x)

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        (dx, gradients), (other, others) = from_body(dy), from_shortcut(dy)
        return dx + other, gradients | others

    return body + shortcut, backward


def _shrink(layer: Shrink, x: Array) -> tuple[Array, Backward]:
    kept = x[:, :, :: layer.stride, :: layer.stride]
    new = layer.out_channels - layer.in_channels

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dx = np.zeros_like(x)
        dx[:, :, :: layer.stride, :: layer.stride] = dy[:, : layer.in_channels]
        return dx, {}

    return np.pad(kept, ((0, 0), (0, new), (0, 0), (0, 0))), backward

"""The spec's layers as ``tf.nn`` operations. Images are NHWC, convolution weights HWIO."""

import math
from collections.abc import Mapping, Sequence

import tensorflow as tf

from distlab.backends.common.unknown_layer import unknown_layer
from distlab.backends.tensorflow import functions
from distlab.backends.tensorflow.blocked_conv import BlockedPool, blocked
from distlab.backends.tensorflow.functions import Pass
from distlab.backends.tensorflow.layouts import absorbing
from distlab.models.layers import (
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
from distlab.models.rewrite import pool_first
from distlab.models.spec import ModelSpec


def logits(
    spec: ModelSpec,
    variables: Mapping[str, tf.Variable],
    images: tf.Tensor,
    compute: tf.DType = tf.float32,
    *,
    blocks: bool = False,
    moved: dict[str, tf.Tensor] | None = None,
) -> tf.Tensor:
    """The model's outputs for NHWC images, in float32.

    Operands and results of products have the type ``compute``; biases are added, and all else is
    computed, in float32. ``blocks``: convolutions with few channels are computed by blocks of
    pixels (:mod:`distlab.backends.tensorflow.blocked_conv`), for CPUs. With ``moved`` it is as in
    training, and running statistics are put there as they are then.
    """
    layers = pool_first(spec.layers)
    by_blocks = blocked(spec, layers) if blocks else {}
    return _through(layers, images, Pass(variables, compute, moved), by_blocks)


def _through(
    layers: Sequence[Layer], x: tf.Tensor, run: Pass, by_blocks: Mapping[int, BlockedPool]
) -> tf.Tensor:
    """Layers one after the other."""
    variables, compute = run.variables, run.compute
    for place, layer in enumerate(layers):
        match layer:
            case Dense(name=name):
                weight, bias = variables[f"{name}.weight"], variables[f"{name}.bias"]
                x = functions.dense(x, weight, bias, compute)
            case Conv2D(name=name) if place in by_blocks:
                weight, bias = (variables[f"{name}.{kind}"] for kind in ("weight", "bias"))
                x = by_blocks[place](x, weight, bias, compute)
            case Conv2D():
                x = functions.conv2d(layer, x, run)
            case ReLU():
                x = tf.nn.relu(x)
            case MaxPool2D() if place - 1 in by_blocks:
                pass  # in the blocks already
            case MaxPool2D(size=size):
                x = functions.padded(x, layer.padding, -math.inf)
                x = tf.nn.max_pool2d(x, size, strides=layer.step, padding="VALID")
            case AvgPool2D(size=size):
                x = functions.padded(x, layer.padding, 0.0)
                x = tf.nn.avg_pool2d(x, size, strides=layer.step, padding="VALID")
            case GlobalAvgPool():
                x = tf.reduce_mean(x, [1, 2] if len(x.shape) == 4 else [1])
            case Flatten():
                if len(x.shape) == 4 and absorbing(layers, place) is None:
                    x = tf.transpose(x, [0, 3, 1, 2])
                x = tf.reshape(x, [-1, math.prod(x.shape[1:])])
            case GELU():
                x = tf.nn.gelu(x, approximate=False)
            case Tanh():
                x = tf.tanh(x)
            case Sigmoid():
                x = tf.sigmoid(x)
            case BatchNorm():
                x = functions.batch_norm(layer, x, run)
            case LayerNorm():
                x = functions.layer_norm(layer, x, run)
            case PatchEmbedding():
                x = functions.patch_embedding(layer, x, run)
            case PositionEmbedding(name=name):
                x = x + variables[f"{name}.places"]
            case SelfAttention():
                x = functions.self_attention(layer, x, run)
            case Residual(body=body, shortcut=shortcut):
                x = _through(body, x, run, {}) + _through(shortcut, x, run, {})
            case Shrink():
                x = functions.shrink(layer, x)
            case _:
                raise unknown_layer(layer, "tensorflow")
    return x

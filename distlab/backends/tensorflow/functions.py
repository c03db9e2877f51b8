"""Layers that take several of TensorFlow's operations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from distlab.models.layers import (
    BatchNorm,
    Conv2D,
    LayerNorm,
    PatchEmbedding,
    SelfAttention,
    Shrink,
)


@dataclass(frozen=True)
class Pass:
    """One pass through a model.

    Attributes
    ----------
    variables:
        Parameters and running statistics by name.
    compute:
        The type of products' operands and results.
    moved:
        In training, filled with the running statistics behind the step; None in evaluation.
    """

    variables: Mapping[str, tf.Variable]
    compute: tf.DType
    moved: dict[str, tf.Tensor] | None


def dense(x: tf.Tensor, weight: tf.Variable, bias: tf.Variable, compute: tf.DType) -> tf.Tensor:
    """``x @ weight + bias`` over the last axis; a sequence as one matrix of all its tokens."""
    sides = x.shape[1:-1]
    if sides:
        x = tf.reshape(x, [-1, x.shape[-1]])
    x = tf.cast(tf.matmul(tf.cast(x, compute), tf.cast(weight, compute)), tf.float32)
    x = tf.nn.bias_add(x, bias)
    return tf.reshape(x, [-1, *sides, x.shape[-1]]) if sides else x


def conv2d(layer: Conv2D, x: tf.Tensor, run: Pass) -> tf.Tensor:
    """By groups one after the other: TensorFlow has no gradient of grouped ones on CPUs."""
    weight = tf.cast(run.variables[f"{layer.name}.weight"], run.compute)
    x = tf.cast(x, run.compute)
    parts = [(x, weight)]
    if layer.groups > 1:
        split = (tf.split(one, layer.groups, axis=3) for one in (x, weight))
        parts = list(zip(*split, strict=True))
    found = [tf.nn.conv2d(*part, strides=layer.stride, padding=_padding(layer)) for part in parts]
    x = tf.cast(found[0] if layer.groups == 1 else tf.concat(found, axis=3), tf.float32)
    return tf.nn.bias_add(x, run.variables[f"{layer.name}.bias"]) if layer.bias else x


def _padding(layer: Conv2D) -> str | list[list[int]]:
    """The padding as TensorFlow names it; explicit sizes make its CPU kernel twice as slow."""
    if layer.padding == 0:
        return "VALID"
    if layer.stride == 1 and 2 * layer.padding == layer.kernel - 1:
        return "SAME"
    sides = [layer.padding, layer.padding]
    return [[0, 0], sides, sides, [0, 0]]


def padded(x: tf.Tensor, padding: int, value: float) -> tf.Tensor:
    """An image with values around it."""
    if not padding:
        return x
    sides = [padding, padding]
    return tf.pad(x, [[0, 0], sides, sides, [0, 0]], constant_values=value)


def batch_norm(layer: BatchNorm, x: tf.Tensor, run: Pass) -> tf.Tensor:
    """By the batch's own statistics in training, by the running ones in evaluation.

    The fused operation itself, for ``tf.nn.fused_batch_norm`` raises an epsilon below 1.001e-5.
    Its variance is divided by n for the output and by n - 1 for the running one.
    """
    scale, shift = (run.variables[name] for name in layer.parameters)
    running = [run.variables[name] for name in layer.buffers]
    sides = x.shape[1:]
    image = x if len(sides) == 3 else tf.reshape(x, [-1, 1, 1, layer.channels])
    training = run.moved is not None
    empty = tf.zeros([0])
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=image,
        scale=scale,
        offset=shift,
        mean=empty if training else running[0],
        variance=empty if training else running[1],
        epsilon=layer.epsilon,
        is_training=training,
    )
    if run.moved is not None:
        for name, old, new in zip(layer.buffers, running, (mean, variance), strict=True):
            run.moved[name] = old + layer.momentum * (new - old)
    return y if len(sides) == 3 else tf.reshape(y, [-1, layer.channels])


def layer_norm(layer: LayerNorm, x: tf.Tensor, run: Pass) -> tf.Tensor:
    """By the mean and variance of each vector."""
    scale, shift = (run.variables[name] for name in layer.parameters)
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, shift, scale, layer.epsilon)


def patch_embedding(layer: PatchEmbedding, x: tf.Tensor, run: Pass) -> tf.Tensor:
    """A convolution whose stride is its kernel, and its pixels as tokens."""
    weight = tf.cast(run.variables[f"{layer.name}.weight"], run.compute)
    x = tf.nn.conv2d(tf.cast(x, run.compute), weight, strides=layer.patch, padding="VALID")
    x = tf.nn.bias_add(tf.cast(x, tf.float32), run.variables[f"{layer.name}.bias"])
    return tf.reshape(x, [-1, x.shape[1] * x.shape[2], layer.width])


def self_attention(layer: SelfAttention, x: tf.Tensor, run: Pass) -> tf.Tensor:
    """``softmax(q k^T / sqrt(d)) v`` for each head, between two dense layers."""
    weight_in, bias_in, weight_out, bias_out = (run.variables[name] for name in layer.parameters)
    tokens, size = x.shape[1], layer.width // layer.heads
    parts = dense(x, weight_in, bias_in, run.compute)
    parts = tf.reshape(parts, [-1, tokens, 3, layer.heads, size])
    q, k, v = tf.unstack(tf.cast(tf.transpose(parts, [2, 0, 3, 1, 4]), run.compute))
    scores = tf.cast(tf.matmul(q, k, transpose_b=True), tf.float32) * (1 / math.sqrt(size))
    mixed = tf.cast(tf.matmul(tf.cast(tf.nn.softmax(scores), run.compute), v), tf.float32)
    mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, tokens, layer.width])
    return dense(mixed, weight_out, bias_out, run.compute)


def shrink(layer: Shrink, x: tf.Tensor) -> tf.Tensor:
    """Every ``stride``-th pixel, and channels of zeros."""
    kept = x[:, :: layer.stride, :: layer.stride, :]
    new = layer.out_channels - layer.in_channels
    return tf.pad(kept, [[0, 0], [0, 0], [0, 0], [0, new]])

"""Layers that take several of Paddle's operations."""

import math
from collections.abc import Mapping
from typing import Any

from distlab.backends.paddle.importing import functional, paddle
from distlab.models.layers import BatchNorm, Conv2D, PatchEmbedding, SelfAttention, Shrink

Arrays = Mapping[str, Any]


def dense(weight: Any, bias: Any, x: Any) -> Any:
    """``x @ weight + bias`` over the last axis; a sequence as one matrix of all its tokens."""
    if x.ndim == 2:
        return paddle.addmm(bias, x, weight)
    rows = paddle.addmm(bias, x.reshape([-1, x.shape[-1]]), weight)
    return rows.reshape([*x.shape[:-1], rows.shape[-1]])


def conv2d(layer: Conv2D, arrays: Arrays, x: Any) -> Any:
    """The bias is added by broadcasting: ``conv2d``'s own bias argument is 1.5 times slower."""
    weight = arrays[f"{layer.name}.weight"]
    if (layer.stride, layer.groups) == (1, 1):
        x = functional.conv2d(x, weight, padding=layer.padding)
    else:
        x = functional.conv2d(
            x, weight, stride=layer.stride, padding=layer.padding, groups=layer.groups
        )
    return x + arrays[f"{layer.name}.bias"].reshape([-1, 1, 1]) if layer.bias else x


def batch_norm(layer: BatchNorm, arrays: Arrays, found: dict[str, Any] | None, x: Any) -> Any:
    """By the batch's own statistics in training, which are put into ``found``, else the running.

    Called as the operator that Paddle's own function calls, which also gives the mean and one over
    the root of the variance plus epsilon (not yet run on a GPU).
    """
    scale, shift = (arrays[name] for name in layer.parameters)
    x = x.astype("float32")
    if found is None:
        mean, variance = (arrays[name] for name in layer.buffers)
        return functional.batch_norm(x, mean, variance, scale, shift, epsilon=layer.epsilon)
    zeros = [paddle.zeros([layer.channels]) for _ in layer.buffers]
    y, _, _, mean, factor, *_ = paddle._C_ops.batch_norm(
        x, *zeros, scale, shift, False, 0.0, layer.epsilon, "NCHW", False, False
    )
    variance = 1 / (factor * factor) - layer.epsilon
    count = math.prod(x.shape) // layer.channels
    found.update(zip(layer.buffers, (mean, variance * (count / (count - 1))), strict=True))
    return y


def patch_embedding(layer: PatchEmbedding, arrays: Arrays, x: Any) -> Any:
    """A convolution whose stride is its kernel, and its pixels as tokens."""
    weight, bias = (arrays[name] for name in layer.parameters)
    x = functional.conv2d(x, weight, stride=layer.patch)
    # Not +, which takes no parameter while a graph is traced.
    return paddle.add(x.flatten(2).transpose([0, 2, 1]), bias)


def self_attention(layer: SelfAttention, arrays: Arrays, dtype: Any, x: Any) -> Any:
    """``softmax(q k^T / sqrt(d)) v`` for each head, between two dense layers."""
    weight_in, bias_in, weight_out, bias_out = (
        arrays[name].astype(dtype) for name in layer.parameters
    )
    samples, tokens, size = x.shape[0], x.shape[1], layer.width // layer.heads
    parts = dense(weight_in, bias_in, x.astype(dtype))
    parts = parts.reshape([samples, tokens, 3, layer.heads, size]).transpose([2, 0, 3, 1, 4])
    q, k, v = paddle.unbind(parts)
    scores = paddle.matmul(q, k, transpose_y=True).astype("float32") * (1 / math.sqrt(size))
    mixed = paddle.matmul(functional.softmax(scores).astype(dtype), v).transpose([0, 2, 1, 3])
    return dense(weight_out, bias_out, mixed.reshape([samples, tokens, layer.width]))


def shrink(layer: Shrink, x: Any) -> Any:
    """Every ``stride``-th pixel, and channels of zeros."""
    kept = x[:, :, :: layer.stride, :: layer.stride]
    samples, _, height, width = kept.shape
    new = layer.out_channels - layer.in_channels
    return paddle.concat([kept, paddle.zeros([samples, new, height, width], kept.dtype)], axis=1)

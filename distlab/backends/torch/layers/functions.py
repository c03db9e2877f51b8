"""Layers as functions of their parameters, in float32 but for products."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from distlab.models.layers import BatchNorm, PatchEmbedding, SelfAttention, Shrink

Arrays = Mapping[str, Tensor]


@dataclass(frozen=True)
class Pass:
    """One pass through a model.

    Attributes
    ----------
    arrays:
        Parameters and running statistics by name.
    compiled:
        Whether torch compiles it for a CPU.
    moved:
        In training, filled with the running statistics behind the step; None in evaluation.
    """

    arrays: Arrays
    compiled: bool
    moved: dict[str, Tensor] | None


def batch_norm(layer: BatchNorm, x: Tensor, run: Pass) -> Tensor:
    """By the batch's own statistics in training, by the running ones in evaluation."""
    scale, shift = (run.arrays[name] for name in layer.parameters)
    running = [run.arrays[name] for name in layer.buffers]
    x = x.float()
    if run.moved is None:
        return functional.batch_norm(x, running[0], running[1], scale, shift, eps=layer.epsilon)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    count = x.numel() // x.shape[1]
    found = mean, variance * (count / (count - 1))
    for name, old, new in zip(layer.buffers, running, found, strict=True):
        run.moved[name] = old + layer.momentum * (new.detach() - old)
    broad = (1, -1, *[1] * (x.dim() - 2))
    factor = torch.rsqrt(variance + layer.epsilon) * scale
    return (x - mean.view(broad)) * factor.view(broad) + shift.view(broad)


def patch_embedding(layer: PatchEmbedding, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution whose stride is its kernel, and its pixels as tokens."""
    tokens = functional.conv2d(x, weight, bias, stride=layer.patch)
    return tokens.flatten(2).transpose(1, 2)


def self_attention(layer: SelfAttention, x: Tensor, arrays: Arrays) -> Tensor:
    """Written out, for a compiler."""
    weight_in, bias_in, weight_out, bias_out = (arrays[name] for name in layer.parameters)
    size = layer.width // layer.heads
    parts = functional.linear(x, weight_in, bias_in).unflatten(-1, (3, layer.heads, size))
    q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
    scores = (q @ k.transpose(2, 3)).float() * (1 / math.sqrt(size))
    mixed = torch.softmax(scores, dim=-1).to(v.dtype) @ v
    return functional.linear(mixed.transpose(1, 2).flatten(2), weight_out, bias_out)


def global_avg_pool(x: Tensor) -> Tensor:
    """Over an image's pixels, or a sequence's tokens."""
    return x.float().mean((2, 3) if x.dim() == 4 else 1)


def shrink(layer: Shrink, x: Tensor) -> Tensor:
    """Every ``stride``-th pixel, and channels of zeros."""
    kept = x[:, :, :: layer.stride, :: layer.stride]
    return functional.pad(kept, (0, 0, 0, 0, 0, layer.out_channels - layer.in_channels))

"""Layers as torch's modules, each with the spec's names of what it holds."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from distlab.backends.torch.layers import functions
from distlab.models.layers import (
    BatchNorm,
    LayerNorm,
    PatchEmbedding,
    PositionEmbedding,
    SelfAttention,
    Shrink,
)


class BatchNormModule(nn.Module):
    """torch's own batch normalization, which has the same running statistics."""

    def __init__(self, layer: BatchNorm, shape_sides: int) -> None:
        super().__init__()
        kind = nn.BatchNorm2d if shape_sides == 3 else nn.BatchNorm1d
        self.norm = kind(layer.channels, layer.epsilon, layer.momentum)
        tensors = ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
        self.spec_names = dict(zip((*layer.parameters, *layer.buffers), tensors, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """In float32."""
        return self.norm(x.float())  # type: ignore[no-any-return]


class LayerNormModule(nn.Module):
    """torch's own layer normalization."""

    def __init__(self, layer: LayerNorm) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(layer.features, layer.epsilon)
        self.spec_names = dict(zip(layer.parameters, ("norm.weight", "norm.bias"), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """In float32."""
        return self.norm(x.float())  # type: ignore[no-any-return]


class PatchEmbeddingModule(nn.Module):
    """A convolution whose stride is its kernel, and its pixels as tokens."""

    def __init__(self, layer: PatchEmbedding) -> None:
        super().__init__()
        self.project = nn.Conv2d(layer.channels, layer.width, layer.patch, stride=layer.patch)
        tensors = ("project.weight", "project.bias")
        self.spec_names = dict(zip(layer.parameters, tensors, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, tokens, width]``."""
        return self.project(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class PositionEmbeddingModule(nn.Module):
    """A vector for each place."""

    def __init__(self, layer: PositionEmbedding) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.empty(layer.tokens, layer.width))
        self.spec_names = dict(zip(layer.parameters, ("places",), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Their sum."""
        return x + self.places


class SelfAttentionModule(nn.Module):
    """Two linear layers around torch's own attention."""

    def __init__(self, layer: SelfAttention) -> None:
        super().__init__()
        self.split = (3, layer.heads, layer.width // layer.heads)
        self.into = nn.Linear(layer.width, 3 * layer.width)
        self.out = nn.Linear(layer.width, layer.width)
        tensors = ("into.weight", "into.bias", "out.weight", "out.bias")
        self.spec_names = dict(zip(layer.parameters, tensors, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, tokens, width]``."""
        q, k, v = self.into(x).unflatten(-1, self.split).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class GlobalAvgPoolModule(nn.Module):
    """Over an image's pixels, or a sequence's tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels]``."""
        return functions.global_avg_pool(x)


class ShrinkModule(nn.Module):
    """A shortcut without parameters."""

    def __init__(self, layer: Shrink) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Every ``stride``-th pixel, and channels of zeros."""
        return functions.shrink(self.layer, x)


class ResidualModule(nn.Module):
    """A body and a shortcut beside it."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Their sum, in float32."""
        return self.body(x).float() + self.shortcut(x).float()  # type: ignore[no-any-return]


class InFloat32(nn.Module):
    """A function of single values, or of windows, that is not rounded to bfloat16."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """In float32."""
        return self.function(x.float())  # type: ignore[no-any-return]

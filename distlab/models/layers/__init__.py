"""The kinds of layers: parameters, their start values, products, their output's shape.

Each is a frozen dataclass of sizes. A backend's ``model.py`` says what its framework makes of each,
the float64 reference (:mod:`distlab.fairness.reference`) what each computes.

Canonical layout: dense weight ``[inputs, outputs]``; convolution weight ``[out_channels,
in_channels, height, width]`` (OIHW); images ``[n, channels, height, width]`` (NCHW); sequences
``[n, tokens, width]``; flattening goes in channel, height, width order.
"""

# Relative, because these modules also travel with a saved model, under another package's name.
from .attention import PositionEmbedding, SelfAttention
from .base import Layer, MisfitError, Shape
from .normalization import BatchNorm, LayerNorm
from .pointwise import GELU, Flatten, ReLU, Sigmoid, Tanh
from .pooling import AvgPool2D, GlobalAvgPool, MaxPool2D
from .products import Conv2D, Dense, PatchEmbedding
from .residual import Residual, Shrink

Trainable = (
    Dense | Conv2D | PatchEmbedding | BatchNorm | LayerNorm | PositionEmbedding | SelfAttention
)
"""Any layer with a name, parameters and start values of its own."""

LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        *(Dense, Conv2D, PatchEmbedding, MaxPool2D, AvgPool2D, GlobalAvgPool),
        *(BatchNorm, LayerNorm, PositionEmbedding, SelfAttention),
        *(ReLU, GELU, Tanh, Sigmoid, Flatten, Residual, Shrink),
    )
}
"""The kinds of layers by the name that a spec's ``to_dict`` gives them."""

__all__ = [
    "GELU",
    "LAYERS",
    "AvgPool2D",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "LayerNorm",
    "MaxPool2D",
    "MisfitError",
    "PatchEmbedding",
    "PositionEmbedding",
    "ReLU",
    "Residual",
    "SelfAttention",
    "Shape",
    "Shrink",
    "Sigmoid",
    "Tanh",
    "Trainable",
]

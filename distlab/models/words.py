"""The words of which models are written: what sizes each takes, and the layer that it means.

A layer is a word, or a word with its sizes, where one number is its first size. Sizes of the input
come by themselves, and so do names: a word and a running number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

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
    MisfitError,
    PatchEmbedding,
    PositionEmbedding,
    ReLU,
    SelfAttention,
    Shape,
    Sigmoid,
    Tanh,
)
from distlab.models.layers.base import IMAGE, SEQUENCE, VECTOR, told

REQUIRED = object()
"""The default of a size that has none."""

Sizes = Mapping[str, Any]
Make = Callable[[str, Shape, Sizes], Layer]
"""From a name, the shape of the input and the sizes to the layer; MisfitError if it can't be."""


@dataclass(frozen=True)
class Word:
    """What a word takes and makes.

    Attributes
    ----------
    make:
        The layer.
    sizes:
        Its sizes in their order, with their defaults. A default's type is that of the size; a size
        without one, or whose default is None, is a whole number.
    example:
        It with sizes that it needs, as in a model's file.
    """

    make: Make
    sizes: Sizes = field(default_factory=dict)
    example: str = ""


def _dense(name: str, shape: Shape, sizes: Sizes) -> Layer:
    if len(shape) == IMAGE:
        found = f"a dense layer takes a vector (or a sequence), its input is {told(shape)}"
        raise MisfitError(
            found, f"- flatten  # a vector of {prod(shape)}\n- dense: {sizes['outputs']}"
        )
    return Dense(name, shape[-1], sizes["outputs"])


def _conv(name: str, shape: Shape, sizes: Sizes) -> Layer:
    _require_image("a convolution", shape)
    return Conv2D(
        name,
        shape[0],
        sizes["channels"],
        sizes["kernel"],
        padding=sizes["padding"],
        stride=sizes["stride"],
        groups=sizes["groups"],
        bias=sizes["bias"],
    )


def _pool(kind: type[MaxPool2D] | type[AvgPool2D]) -> Make:
    def make(name: str, shape: Shape, sizes: Sizes) -> Layer:
        _require_image("pooling", shape)
        stride = None if sizes["stride"] == sizes["size"] else sizes["stride"]
        return kind(sizes["size"], stride, sizes["padding"])

    return make


def _patch_embedding(name: str, shape: Shape, sizes: Sizes) -> Layer:
    _require_image("a patch embedding", shape)
    return PatchEmbedding(name, shape[0], sizes["patch"], sizes["width"])


def _position_embedding(name: str, shape: Shape, sizes: Sizes) -> Layer:
    return PositionEmbedding(name, *_require_sequence("a position embedding", shape))


def _self_attention(name: str, shape: Shape, sizes: Sizes) -> Layer:
    return SelfAttention(name, _require_sequence("self-attention", shape)[1], sizes["heads"])


def _require_image(what: str, shape: Shape) -> None:
    if len(shape) != IMAGE:
        found = f"{what} takes an image, its input is {told(shape)}"
        before = {SEQUENCE: "patch_embedding", VECTOR: "flatten or global_avg_pool"}[len(shape)]
        raise MisfitError(found, f"put it before the {before} that made this of an image")


def _require_sequence(what: str, shape: Shape) -> tuple[int, int]:
    if len(shape) != SEQUENCE:
        found = f"{what} takes a sequence, its input is {told(shape)}"
        fits = "- patch_embedding: {patch: 4, width: 64}  # makes a sequence of an image"
        raise MisfitError(found, fits)
    return shape[0], shape[1]


_WINDOW = {"size": REQUIRED, "stride": None, "padding": 0}

WORDS: dict[str, Word] = {
    "dense": Word(_dense, {"outputs": REQUIRED}, "dense: 100"),
    "conv": Word(
        _conv,
        {
            "channels": REQUIRED,
            "kernel": REQUIRED,
            "stride": 1,
            "padding": 0,
            "groups": 1,
            "bias": True,
        },
        "conv: {channels: 16, kernel: 3, padding: 1}",
    ),
    "max_pool": Word(_pool(MaxPool2D), _WINDOW, "max_pool: 2"),
    "avg_pool": Word(_pool(AvgPool2D), _WINDOW, "avg_pool: 2"),
    "global_avg_pool": Word(lambda name, shape, sizes: GlobalAvgPool()),
    "flatten": Word(lambda name, shape, sizes: Flatten()),
    "batch_norm": Word(
        lambda name, shape, sizes: BatchNorm(name, shape[0], sizes["momentum"], sizes["epsilon"]),
        {"momentum": 0.1, "epsilon": 1e-5},
    ),
    "layer_norm": Word(
        lambda name, shape, sizes: LayerNorm(name, shape[-1], sizes["epsilon"]), {"epsilon": 1e-5}
    ),
    "relu": Word(lambda name, shape, sizes: ReLU()),
    "gelu": Word(lambda name, shape, sizes: GELU()),
    "tanh": Word(lambda name, shape, sizes: Tanh()),
    "sigmoid": Word(lambda name, shape, sizes: Sigmoid()),
    "patch_embedding": Word(
        _patch_embedding,
        {"patch": REQUIRED, "width": REQUIRED},
        "patch_embedding: {patch: 4, width: 64}",
    ),
    "position_embedding": Word(_position_embedding),
    "self_attention": Word(_self_attention, {"heads": REQUIRED}, "self_attention: 4"),
}
"""Each word but ``residual`` and ``hidden``, which hold layers themselves."""

REFUSED = {
    "dropout": "which values it drops comes from each framework's own random numbers, and no two "
    "share them: nothing that follows could be held against the reference",
    "softmax": "softmax belongs to the loss: a model ends in logits",
    "log_softmax": "softmax belongs to the loss: a model ends in logits",
}
"""Words that people look for, and why they are none."""

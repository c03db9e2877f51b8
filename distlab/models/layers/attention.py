"""Layers of transformers: self-attention, and the places of tokens."""

import math
from dataclasses import dataclass

from .base import SEQUENCE, Layer, MisfitError, Shape, divisors, lecun_bound, told

_PATCHES = "patch_embedding makes a sequence of an image"


@dataclass(frozen=True)
class PositionEmbedding(Layer):
    """Adds a trained vector to each token, by the token's place.

    Dosovitskiy et al. (2021), equation 1. Start values are uniform with a standard deviation of
    0.02, which is that of their normal ones.
    """

    name: str
    tokens: int
    width: int

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        return {f"{self.name}.places": (self.tokens, self.width)}

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return {f"{self.name}.places": 0.02 * math.sqrt(3.0)}

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`."""
        if shape != (self.tokens, self.width):
            expected = f"expects a sequence of {self.tokens} x {self.width}, is given {told(shape)}"
            raise MisfitError(expected, _PATCHES)
        return shape


@dataclass(frozen=True)
class SelfAttention(Layer):
    """Multi-head self-attention: every token a weighted mean of all, for each head.

    Vaswani et al. (2017), "Attention Is All You Need", section 3.2: ``softmax(q k^T / sqrt(d)) v``
    with ``d = width / heads``, where q, k and v are the input times ``in.weight`` (``[width, 3 *
    width]``: q, k, v side by side, in each the heads side by side) plus ``in.bias``. The heads'
    results side by side, times ``out.weight``, plus ``out.bias``, are the output.
    """

    name: str
    width: int
    heads: int

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        return {
            f"{self.name}.in.weight": (self.width, 3 * self.width),
            f"{self.name}.in.bias": (3 * self.width,),
            f"{self.name}.out.weight": (self.width, self.width),
            f"{self.name}.out.bias": (self.width,),
        }

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        bound = lecun_bound(self.width)
        return {name: bound if name.endswith("weight") else 0.0 for name in self.parameters}

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`."""
        if len(shape) != SEQUENCE or shape[1] != self.width:
            expected = f"expects a sequence of tokens of width {self.width}, is given {told(shape)}"
            raise MisfitError(expected, _PATCHES)
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        """See :class:`Layer`: four products with weights, and two of tokens with tokens."""
        tokens = shape[0]
        return 4 * tokens * self.width**2 + 2 * tokens**2 * self.width

    def training_multiply_adds(self, shape: Shape, gradient: bool) -> int:
        """See :class:`Layer`: only the input's own gradient can be left out."""
        left_out = 0 if gradient else 3 * shape[0] * self.width**2
        return 3 * self.multiply_adds(shape) - left_out

    def check(self) -> None:
        """See :class:`Layer`: ``heads`` divides the width."""
        super().check()
        if self.width % self.heads:
            raise MisfitError(
                f"{self.heads} heads do not divide a width of {self.width}",
                f"heads: one of {divisors(self.width)}",
            )

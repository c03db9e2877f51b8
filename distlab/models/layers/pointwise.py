"""Layers without parameters that compute each value by itself, or only arrange values."""

import math
from dataclasses import dataclass

from .base import Layer, Shape


@dataclass(frozen=True)
class ReLU(Layer):
    """Rectifier: ``max(x, 0)``; its derivative at 0 is taken as 0."""


@dataclass(frozen=True)
class GELU(Layer):
    """``x * P(X <= x)`` of a standard normal X: ``x * (1 + erf(x / sqrt(2))) / 2``.

    Hendrycks and Gimpel (2016), "Gaussian Error Linear Units", equation 2, as it stands; not their
    approximation by tanh, which parts from it by up to 5e-4.
    """


@dataclass(frozen=True)
class Tanh(Layer):
    """``tanh(x)``."""


@dataclass(frozen=True)
class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``."""


@dataclass(frozen=True)
class Flatten(Layer):
    """One vector per sample, in channel, height, width order, or in token, feature order."""

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`: ``(product of the input's sides,)``."""
        return (math.prod(shape),)

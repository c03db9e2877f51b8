"""The float64 reference with products and convolutions that are rounded, as bf16 and TF32 do."""

from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from distlab.fairness.layers import forward as layers
from distlab.fairness.layers.passing import Pass
from distlab.models.layers import Conv2D, Dense, Layer

BITS = {"bf16": 8, "tf32": 11}
FLOAT32_BITS = 24
Array = NDArray[Any]
_plain = layers.forward


def rounded(values: Array, bits: int) -> NDArray[np.float64]:
    """The nearest numbers with so many significant bits, ties to even, by masking float32's."""
    drop = np.uint32(FLOAT32_BITS - bits)
    words = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << int(drop - 1)) - 1)
    words = words + half + ((words >> drop) & np.uint32(1))
    return ((words >> drop) << drop).view(np.float32).astype(np.float64)


def products(precision: str) -> Any:
    """A context in which the reference's layers round as in a precision; in ``fp32`` not at all.

    Operands of dense and convolution layers are rounded, and in ``bf16`` results, too, forward and
    backward.
    """
    if precision == "fp32":
        return mock.patch.object(layers, "forward", _plain)
    bits = BITS[precision]

    def kept(values: Array) -> Array:
        return rounded(values, bits) if precision == "bf16" else values

    def forward(layer: Layer, given: Pass, x: Array) -> Any:
        if not isinstance(layer, Dense | Conv2D):
            return _plain(layer, given, x)
        weight, bias = layer.parameters
        own = {weight: rounded(given.arrays[weight], bits), bias: kept(given.arrays[bias])}
        y, back = _plain(layer, Pass(own, given.workers), rounded(x, bits))

        def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
            dx, gradients = back(rounded(dy, bits))
            return kept(dx), {name: kept(array) for name, array in gradients.items()}

        return kept(y), backward

    return mock.patch.object(layers, "forward", forward)

"""Pooling, by windows and over whole samples."""

import numpy as np

from ...models.layers import AvgPool2D, MaxPool2D
from .passing import Array, Backward


def _windows(
    layer: MaxPool2D | AvgPool2D, x: Array, filling: float
) -> tuple[Array, list[tuple[slice, ...]]]:
    """The padded input, and each element of the windows as a strided slice, in row-major order."""
    pad, size, step = layer.padding, layer.size, layer.step
    sides = ((0, 0), (0, 0), (pad, pad), (pad, pad))
    padded = np.pad(x, sides, constant_values=filling) if pad else x
    height, width = ((side - size) // step + 1 for side in padded.shape[2:])
    down, right = step * (height - 1) + 1, step * (width - 1) + 1
    return padded, [
        np.s_[:, :, i : i + down : step, j : j + right : step]
        for i in range(size)
        for j in range(size)
    ]


def _unpadded(layer: MaxPool2D | AvgPool2D, padded: Array, x: Array) -> Array:
    pad = layer.padding
    return padded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]


def max_pool2d(layer: MaxPool2D, x: Array) -> tuple[Array, Backward]:
    """The maximum; the first in row-major order has the gradient."""
    padded, slices = _windows(layer, x, -np.inf)
    y = np.maximum.reduce([padded[part] for part in slices])

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dpadded = np.zeros_like(padded)
        unclaimed = np.ones(y.shape, bool)
        for part in slices:
            winner = unclaimed & (padded[part] == y)
            dpadded[part] += np.where(winner, dy, 0)
            unclaimed &= ~winner
        return _unpadded(layer, dpadded, x), {}

    return y, backward


def avg_pool2d(layer: AvgPool2D, x: Array) -> tuple[Array, Backward]:
    """The mean, zeros of the padding among the values."""
    padded, slices = _windows(layer, x, 0)
    share = x.dtype.type(1 / layer.size**2)
    y = np.add.reduce([padded[part] for part in slices]) * share

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dpadded = np.zeros_like(padded)
        for part in slices:
            dpadded[part] += dy * share
        return _unpadded(layer, dpadded, x), {}

    return y, backward


def global_avg_pool(x: Array) -> tuple[Array, Backward]:
    """The mean of an image's channels over its pixels, or of a sequence over its tokens."""
    axes = (2, 3) if x.ndim == 4 else (1,)
    places = int(np.prod([x.shape[axis] for axis in axes]))

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        return np.broadcast_to(np.expand_dims(dy, axes) / places, x.shape).astype(x.dtype), {}

    return x.mean(axis=axes), backward

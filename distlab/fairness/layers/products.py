"""Dense layers, convolutions and patch embeddings."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...models.layers import Conv2D, Dense, PatchEmbedding
from .passing import Array, Backward, Pass

UNFOLDED_BYTES = 2**26
"""How large the unfolded windows may be that a convolution has in memory at a time."""


def dense(layer: Dense, given: Pass, x: Array) -> tuple[Array, Backward]:
    """``x @ weight + bias``, over the last axis."""
    weight, bias = given.of(layer)

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        rows = dy.reshape(-1, layer.outputs)
        gradients = (x.reshape(-1, layer.inputs).T @ rows, rows.sum(axis=0))
        return dy @ weight.T, dict(zip(layer.parameters, gradients, strict=True))

    return x @ weight + bias, backward


def conv2d(layer: Conv2D, given: Pass, x: Array) -> tuple[Array, Backward]:
    """Convolution as matrix products with its unfolded windows (im2col), by sample and group."""
    weight, *bias = given.of(layer)
    kernel, pad, stride, groups = layer.kernel, layer.padding, layer.stride, layer.groups
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    samples, channels, height, width = windows.shape[:4]
    inputs = channels // groups
    matrix = weight.reshape(groups, layer.out_channels // groups, -1)
    at_once = max(1, UNFOLDED_BYTES // (math.prod(windows.shape[1:]) * x.itemsize))
    parts = [slice(start, start + at_once) for start in range(0, max(samples, 1), at_once)]

    def unfolded(part: slice) -> Array:
        """``[n, groups, inputs * kernel * kernel, height * width]``."""
        columns = windows[part].transpose(0, 1, 4, 5, 2, 3)
        return columns.reshape(len(columns), groups, inputs * kernel**2, height * width)

    kept = unfolded(parts[0]) if len(parts) == 1 else None

    def columns() -> Iterator[tuple[slice, Array]]:
        for part in parts:
            yield part, unfolded(part) if kept is None else kept

    y = np.empty((samples, groups, layer.out_channels // groups, height * width), x.dtype)
    for part, unfolded_part in columns():
        y[part] = matrix @ unfolded_part
    y = y.reshape(samples, layer.out_channels, height, width)
    if bias:
        y += bias[0][:, np.newaxis, np.newaxis]

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dy = dy.reshape(samples, groups, -1, height * width)
        dweight = np.zeros_like(matrix)
        dpadded = np.zeros_like(padded)
        for part, unfolded_part in columns():
            dweight += (dy[part] @ unfolded_part.swapaxes(2, 3)).sum(axis=0)
            dcolumns = (matrix.swapaxes(1, 2) @ dy[part]).reshape(
                -1, channels, kernel, kernel, height, width
            )
            for i in range(kernel):
                for j in range(kernel):
                    rows = slice(i, i + stride * (height - 1) + 1, stride)
                    places = slice(j, j + stride * (width - 1) + 1, stride)
                    dpadded[part, :, rows, places] += dcolumns[:, :, i, j]
        dx = dpadded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]
        gradients = [dweight.reshape(weight.shape)]
        if bias:
            gradients.append(dy.sum(axis=(0, 3)).ravel())
        return dx, dict(zip(layer.parameters, gradients, strict=True))

    return y, backward


def patch_embedding(layer: PatchEmbedding, given: Pass, x: Array) -> tuple[Array, Backward]:
    """Each patch times the weight, as one product of matrices."""
    weight, bias = given.of(layer)
    patch, (samples, channels, height, width) = layer.patch, x.shape
    grid = (samples, channels, height // patch, patch, width // patch, patch)
    rows = x.reshape(grid).transpose(0, 2, 4, 1, 3, 5).reshape(samples, -1, layer.fan_in)
    matrix = weight.reshape(layer.width, -1).T

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        flat = dy.reshape(-1, layer.width)
        dweight = (rows.reshape(-1, layer.fan_in).T @ flat).T.reshape(weight.shape)
        dx = (dy @ matrix.T).reshape(samples, grid[2], grid[4], channels, patch, patch)
        dx = dx.transpose(0, 3, 1, 4, 2, 5).reshape(x.shape)
        return dx, dict(zip(layer.parameters, (dweight, flat.sum(axis=0)), strict=True))

    return rows @ matrix + bias, backward

"""Batch and layer normalization."""

import numpy as np

from ...models.layers import BatchNorm, LayerNorm
from .passing import Array, Backward, Pass


def batch_norm(layer: BatchNorm, given: Pass, x: Array) -> tuple[Array, Backward]:
    """In training by the statistics of each worker's samples, else by the running ones."""
    scale, shift = given.of(layer)
    names = list(layer.buffers)
    if not given.workers:
        mean, variance = (given.arrays[name] for name in names)
        broad = (slice(None), *[np.newaxis] * (x.ndim - 2))
        factor = scale / np.sqrt(variance + x.dtype.type(layer.epsilon))
        return (x - mean[broad]) * factor[broad] + shift[broad], lambda dy: (dy * factor[broad], {})

    parts = x.reshape(given.workers, len(x) // given.workers, layer.channels, -1)
    axes, broad = (1, 3), (slice(None), np.newaxis, slice(None), np.newaxis)
    count = parts.shape[1] * parts.shape[3]
    mean = parts.mean(axis=axes)
    centred = parts - mean[broad]
    variance = (centred * centred).mean(axis=axes)
    factor = 1 / np.sqrt(variance + x.dtype.type(layer.epsilon))
    normed = centred * factor[broad]
    # Values that are one alone have no unbiased variance; models where that is so are refused.
    found = (mean, variance * (count / max(count - 1, 1)))
    given.statistics.update(zip(names, (one.mean(axis=0) for one in found), strict=True))
    y = normed * scale[:, np.newaxis] + shift[:, np.newaxis]

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dy = dy.reshape(parts.shape)
        gradients = ((dy * normed).sum(axis=(0, 1, 3)), dy.sum(axis=(0, 1, 3)))
        dnormed = dy * scale[:, np.newaxis]
        along = (dnormed * normed).mean(axis=axes)[broad] * normed
        dx = factor[broad] * (dnormed - dnormed.mean(axis=axes)[broad] - along)
        return dx.reshape(x.shape), dict(zip(layer.parameters, gradients, strict=True))

    return y.reshape(x.shape), backward


def layer_norm(layer: LayerNorm, given: Pass, x: Array) -> tuple[Array, Backward]:
    """Each vector by its own mean and variance."""
    scale, shift = given.of(layer)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    factor = 1 / np.sqrt(variance + x.dtype.type(layer.epsilon))
    normed = centred * factor

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        axes = tuple(range(dy.ndim - 1))
        gradients = ((dy * normed).sum(axis=axes), dy.sum(axis=axes))
        dnormed = dy * scale
        along = (dnormed * normed).mean(axis=-1, keepdims=True) * normed
        dx = factor * (dnormed - dnormed.mean(axis=-1, keepdims=True) - along)
        return dx, dict(zip(layer.parameters, gradients, strict=True))

    return normed * scale + shift, backward

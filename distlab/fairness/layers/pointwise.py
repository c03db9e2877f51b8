"""Functions of single values."""

import math

import numpy as np

from .passing import Array, Backward


def relu(x: Array) -> tuple[Array, Backward]:
    """``max(x, 0)``."""
    return np.maximum(x, 0), lambda dy: (np.where(x > 0, dy, 0), {})


def gelu(x: Array) -> tuple[Array, Backward]:
    """``x * (1 + erf(x / sqrt(2))) / 2``; the derivative adds x times the normal density."""
    below = (0.5 * (1 + np.asarray(_erf(x * math.sqrt(0.5)), x.dtype))).astype(x.dtype)

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return dy * (below + x * density), {}

    return x * below, backward


def tanh(x: Array) -> tuple[Array, Backward]:
    """``tanh(x)``."""
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y), {})


def sigmoid(x: Array) -> tuple[Array, Backward]:
    """``1 / (1 + exp(-x))``, by tanh, which does not overflow."""
    y = 0.5 * (1 + np.tanh(0.5 * x))
    return y, lambda dy: (dy * y * (1 - y), {})


def _erf(x: Array) -> Array:
    """The error function of each element."""
    try:
        from scipy.special import erf  # it takes as long to load as all that a rank needs beside it
    except ImportError:  # where a saved model is loaded, there may be NumPy alone
        erf = np.frompyfunc(math.erf, 1, 1)
    found: Array = erf(x)
    return found

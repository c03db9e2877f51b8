"""The oracle: forward pass, gradients and Adam in NumPy, against which the backends are held.

Nothing here knows a framework. Everything is computed in float64 unless told otherwise, in the
canonical layout of :mod:`distlab.models.spec`, for any :class:`~distlab.models.spec.ModelSpec`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

# Relative, because these modules also travel with a saved model, under another package's name.
from ..models.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from ..models.spec import ModelSpec

Array = NDArray[Any]
Parameters = Mapping[str, Array]
Backward = Callable[[Array], tuple[Array, dict[str, Array]]]
"""From the gradient of a layer's output to that of its input and those of its parameters."""


def _dense(layer: Dense, parameters: Parameters, x: Array) -> tuple[Array, Backward]:
    weight, bias = (parameters[name] for name in layer.parameters)

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        gradients = (x.T @ dy, dy.sum(axis=0))
        return dy @ weight.T, dict(zip(layer.parameters, gradients, strict=True))

    return x @ weight + bias, backward


def _conv2d(layer: Conv2D, parameters: Parameters, x: Array) -> tuple[Array, Backward]:
    """Convolution as one matrix product per sample over its unfolded windows (im2col)."""
    weight, bias = (parameters[name] for name in layer.parameters)
    kernel, pad = layer.kernel, layer.padding
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    samples, channels, height, width = windows.shape[:4]
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(
        samples, channels * kernel * kernel, height * width
    )
    matrix = weight.reshape(layer.out_channels, -1)
    y = matrix @ columns + bias[:, np.newaxis]

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dy = dy.reshape(samples, layer.out_channels, height * width)
        dweight = (dy @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(weight.shape)
        dcolumns = (matrix.T @ dy).reshape(samples, channels, kernel, kernel, height, width)
        dpadded = np.zeros_like(padded)
        for i in range(kernel):
            for j in range(kernel):
                dpadded[:, :, i : i + height, j : j + width] += dcolumns[:, :, i, j]
        dx = dpadded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]
        gradients = (dweight, dy.sum(axis=(0, 2)))
        return dx, dict(zip(layer.parameters, gradients, strict=True))

    return y.reshape(samples, layer.out_channels, height, width), backward


def _relu(x: Array) -> tuple[Array, Backward]:
    return np.maximum(x, 0), lambda dy: (np.where(x > 0, dy, 0), {})


def _max_pool2d(layer: MaxPool2D, x: Array) -> tuple[Array, Backward]:
    """The window's elements are strided slices, taken in row-major order."""
    size = layer.size
    slices = [np.s_[:, :, i::size, j::size] for i in range(size) for j in range(size)]
    y = np.maximum.reduce([x[part] for part in slices])

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dx = np.zeros_like(x)
        unclaimed = np.ones(y.shape, bool)
        for part in slices:
            winner = unclaimed & (x[part] == y)
            dx[part] = np.where(winner, dy, 0)
            unclaimed &= ~winner
        return dx, {}

    return y, backward


def _forward(layer: Layer, parameters: Parameters, x: Array) -> tuple[Array, Backward]:
    match layer:
        case Dense():
            return _dense(layer, parameters, x)
        case Conv2D():
            return _conv2d(layer, parameters, x)
        case ReLU():
            return _relu(x)
        case MaxPool2D():
            return _max_pool2d(layer, x)
        case Flatten():
            return x.reshape(len(x), math.prod(x.shape[1:])), lambda dy: (dy.reshape(x.shape), {})
        case _:
            raise TypeError(f"the float64 reference has no case for {type(layer).__name__}")


def logits(
    spec: ModelSpec, weights: Parameters, images: Array, dtype: DTypeLike = np.float64
) -> Array:
    """The model's outputs before softmax.

    Parameters
    ----------
    spec, weights:
        The model and its parameters, in the canonical layout.
    images:
        ``[n, channels, height, width]``, values in [0, 1].
    dtype:
        The floating-point type of the whole computation.

    Returns
    -------
    numpy.ndarray
        ``[n, classes]`` of ``dtype``.
    """
    parameters = {name: np.asarray(value, dtype) for name, value in weights.items()}
    x = np.asarray(images, dtype)
    for layer in spec.layers:
        x, _ = _forward(layer, parameters, x)
    return x


def log_softmax(values: Array) -> Array:
    """Logarithm of softmax over the last axis, shifted by the maximum so as not to overflow."""
    shifted = values - values.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropies(values: Array, labels: NDArray[np.integer[Any]]) -> Array:
    """Softmax cross-entropy of each sample: ``[n]``, of logits ``[n, classes]``."""
    return -log_softmax(values)[np.arange(len(labels)), labels]


def loss_and_gradients(
    spec: ModelSpec,
    weights: Parameters,
    images: Array,
    labels: NDArray[np.integer[Any]],
    given: Callable[[int, Array], Array] = lambda place, x: x,
) -> tuple[float, dict[str, NDArray[np.float64]]]:
    """Mean softmax cross-entropy over the batch, and its gradient, in float64.

    The loss of one sample with logits ``z`` and label ``k`` is ``log(sum_j exp(z_j)) - z_k``, its
    gradient with respect to ``z`` is ``softmax(z) - onehot(k)`` (Goodfellow et al. 2016, *Deep
    Learning*, section 6.2.2.3); the rest is back-propagation, layer by layer.

    Parameters
    ----------
    spec, weights:
        The model and its parameters, in the canonical layout.
    images:
        ``[n, channels, height, width]``, values in [0, 1]; n at least 1.
    labels:
        ``[n]``, 0 to classes - 1.
    given:
        From the place of a layer in the spec and its input to the input that it is given instead.

    Returns
    -------
    tuple
        The loss, and its gradient by parameter name, in the spec's order.
    """
    parameters = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    x: Array = np.asarray(images, np.float64)
    tape: list[Backward] = []
    for place, layer in enumerate(spec.layers):
        x, backward = _forward(layer, parameters, given(place, x))
        tape.append(backward)

    samples = np.arange(len(labels))
    log_probabilities = log_softmax(x)
    loss = -log_probabilities[samples, labels].mean()
    dx = np.exp(log_probabilities)
    dx[samples, labels] -= 1
    dx /= len(labels)

    gradients: dict[str, Array] = {}
    for backward in reversed(tape):
        dx, found = backward(dx)
        gradients |= found
    return float(loss), {name: gradients[name] for name in spec.parameters}


class Adam:
    """Adam in float64, as Kingma & Ba (2015), "Adam: A Method for Stochastic Optimization",
    Algorithm 1, writes it: epsilon is added to the root of the bias-corrected second moment.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon:
        The constants of Algorithm 1 (alpha, beta_1, beta_2, epsilon).

    Attributes
    ----------
    t:
        Steps taken so far.
    m, v:
        First and second moment by parameter name; empty before the first step.
    """

    def __init__(
        self,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.t = 0
        self.m: dict[str, NDArray[np.float64]] = {}
        self.v: dict[str, NDArray[np.float64]] = {}

    def step(
        self, weights: Parameters, gradients: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        """Take one step and return the new weights (float64); the given ones stay as they are."""
        self.t += 1
        updated = {}
        for name, weight in weights.items():
            g = gradients[name]
            m = self.beta1 * self.m.get(name, 0.0) + (1 - self.beta1) * g
            v = self.beta2 * self.v.get(name, 0.0) + (1 - self.beta2) * g * g
            self.m[name], self.v[name] = m, v
            m_hat = m / (1 - self.beta1**self.t)
            v_hat = v / (1 - self.beta2**self.t)
            change = self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)
            updated[name] = np.asarray(weight, np.float64) - change
        return updated


def losses(
    spec: ModelSpec,
    weights: Parameters,
    images: Array,
    labels: NDArray[np.integer[Any]],
    order: NDArray[np.integer[Any]],
    learning_rate: float = 1e-3,
) -> NDArray[np.float64]:
    """The losses of :func:`train` with Adam's usual constants, from its zero state."""
    return train(spec, Adam(learning_rate), weights, images, labels, order)[0]


def train(
    spec: ModelSpec,
    adam: Adam,
    weights: Parameters,
    images: Array,
    labels: NDArray[np.integer[Any]],
    order: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.float64], dict[str, Array]]:
    """Take a step for each row of ``order``, in float64.

    Parameters
    ----------
    spec, weights:
        The model and its initial parameters.
    adam:
        The optimizer; its state moves on.
    images, labels:
        The training set: ``[n, channels, height, width]`` in [0, 1], ``[n]``.
    order:
        ``[steps, global_batch]``: the samples of each step.

    Returns
    -------
    tuple
        The global batch's mean loss before each update, and the weights after the last.
    """
    found = []
    for batch in order:
        loss, gradients = loss_and_gradients(spec, weights, images[batch], labels[batch])
        weights = adam.step(weights, gradients)
        found.append(loss)
    return np.array(found), dict(weights)

"""The oracle: forward pass, gradients and Adam in NumPy, against which the backends are held.

Nothing here knows a framework. Everything is computed in float64 unless told otherwise, in the
canonical layout of :mod:`distlab.models.spec`, for any :class:`~distlab.models.spec.ModelSpec`.
What each kind of layer computes is in :mod:`distlab.fairness.layers`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Relative, because these modules also travel with a saved model, under another package's name.
from ..models.layers import BatchNorm
from ..models.spec import ModelSpec
from .layers.forward import Given, through
from .layers.passing import Array, Parameters, Pass


def logits(
    spec: ModelSpec, weights: Parameters, images: Array, dtype: DTypeLike = np.float64
) -> Array:
    """The model's outputs before softmax, as in evaluation.

    Parameters
    ----------
    spec, weights:
        The model, its parameters and running statistics, in the canonical layout.
    images:
        ``[n, channels, height, width]``, values in [0, 1].
    dtype:
        The floating-point type of the whole computation.

    Returns
    -------
    numpy.ndarray
        ``[n, classes]`` of ``dtype``.
    """
    arrays = {name: np.asarray(value, dtype) for name, value in weights.items()}
    x = np.asarray(images, dtype)
    return through(spec.layers, Pass(arrays, workers=0), x)[0]


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
    given: Given = lambda place, x: x,
) -> tuple[float, dict[str, NDArray[np.float64]]]:
    """Loss and gradients of :func:`step` by one worker."""
    return step(spec, weights, images, labels, given=given)[:2]


def step(
    spec: ModelSpec,
    weights: Parameters,
    images: Array,
    labels: NDArray[np.integer[Any]],
    *,
    workers: int = 1,
    given: Given = lambda place, x: x,
    dtype: DTypeLike = np.float64,
) -> tuple[float, dict[str, Array], dict[str, Array]]:
    """Mean softmax cross-entropy over the batch, its gradient, and the running statistics then.

    The loss of one sample with logits ``z`` and label ``k`` is ``log(sum_j exp(z_j)) - z_k``, its
    gradient with respect to ``z`` is ``softmax(z) - onehot(k)`` (Goodfellow et al. 2016, *Deep
    Learning*, section 6.2.2.3); the rest is back-propagation, layer by layer.

    Parameters
    ----------
    spec, weights:
        The model, its parameters and running statistics, in the canonical layout.
    images:
        ``[n, channels, height, width]``, values in [0, 1]; n at least 1.
    labels:
        ``[n]``, 0 to classes - 1.
    workers:
        How many share the batch, each the same number of neighbouring samples. It matters to batch
        normalization alone.
    given:
        From the place of a layer in the spec and its input to the input that it is given instead.
    dtype:
        The floating-point type of the whole computation.

    Returns
    -------
    tuple
        The loss; its gradient by parameter name, in the spec's order; the running statistics behind
        the step, by name.
    """
    arrays = {name: np.asarray(value, dtype) for name, value in weights.items()}
    one = Pass(arrays, workers)
    x, backward = through(spec.layers, one, np.asarray(images, dtype), given)

    samples = np.arange(len(labels))
    log_probabilities = log_softmax(x)
    loss = -log_probabilities[samples, labels].mean()
    dx = np.exp(log_probabilities)
    dx[samples, labels] -= 1
    dx /= len(labels)

    _, gradients = backward(dx)
    moved = {
        name: arrays[name] + layer.momentum * (one.statistics[name] - arrays[name])
        for layer in spec.all_layers
        if isinstance(layer, BatchNorm)
        for name in layer.buffers
    }
    return float(loss), {name: gradients[name] for name in spec.parameters}, moved


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
        self,
        weights: Parameters,
        gradients: Mapping[str, NDArray[np.float64]],
        rate: float | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Take one step and return the new weights (float64); the given ones stay as they are.

        What has no gradient is not returned. The rate is the given one, else ``learning_rate``.
        """
        rate = self.learning_rate if rate is None else rate
        self.t += 1
        updated = {}
        for name, g in gradients.items():
            m = self.beta1 * self.m.get(name, 0.0) + (1 - self.beta1) * g
            v = self.beta2 * self.v.get(name, 0.0) + (1 - self.beta2) * g * g
            self.m[name], self.v[name] = m, v
            m_hat = m / (1 - self.beta1**self.t)
            v_hat = v / (1 - self.beta2**self.t)
            change = rate * m_hat / (np.sqrt(v_hat) + self.epsilon)
            updated[name] = np.asarray(weights[name], np.float64) - change
        return updated


class Optimizer(Protocol):
    """What takes a step by a gradient: :class:`Adam`, or another one."""

    def step(
        self,
        weights: Parameters,
        gradients: Mapping[str, NDArray[np.float64]],
        rate: float | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """As :meth:`Adam.step`."""


def losses(
    spec: ModelSpec,
    weights: Parameters,
    images: Array,
    labels: NDArray[np.integer[Any]],
    order: NDArray[np.integer[Any]],
    learning_rate: float = 1e-3,
    workers: int = 1,
    dtype: DTypeLike = np.float64,
) -> NDArray[np.float64]:
    """The losses of :func:`train` with Adam's usual constants, from its zero state."""
    adam = Adam(learning_rate)
    return train(spec, adam, weights, images, labels, order, workers, dtype)[0]


def train(
    spec: ModelSpec,
    optimizer: Optimizer,
    weights: Parameters,
    images: Array,
    labels: NDArray[np.integer[Any]],
    order: NDArray[np.integer[Any]],
    workers: int = 1,
    dtype: DTypeLike = np.float64,
    rates: Sequence[float] | NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], dict[str, Array]]:
    """Take a step for each row of ``order``.

    Parameters
    ----------
    spec, weights:
        The model, its initial parameters and running statistics.
    optimizer:
        Its state moves on.
    images, labels:
        The training set: ``[n, channels, height, width]`` in [0, 1], ``[n]``.
    order:
        ``[steps, global_batch]``: the samples of each step.
    workers:
        How many share each batch; see :func:`step`.
    dtype:
        What losses and gradients are computed in; the optimizer is in float64.
    rates:
        The learning rate of each step; None for the optimizer's own.

    Returns
    -------
    tuple
        The global batch's mean loss before each update, and the weights after the last.
    """
    found = []
    for place, batch in enumerate(order):
        loss, gradients, running = step(
            spec, weights, images[batch], labels[batch], workers=workers, dtype=dtype
        )
        rate = None if rates is None else float(rates[place])
        weights = {**optimizer.step(weights, gradients, rate), **running}
        found.append(loss)
    return np.array(found), dict(weights)

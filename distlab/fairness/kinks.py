"""The reference where float32 cannot tell on which side of a kink an input lies.

A gradient jumps where an input of a ReLU passes zero, and where the two greatest elements of a
max-pool's window change places. An input that is nearer to such a kink than float32 rounds may lie
on one side of it in a correct run and on the other in the float64 reference. One such input among
a million moves the run's tenth loss by up to 1e-4 at a batch of 512, and 3e-3 at one of 8, because
Adam's first updates are about the learning rate times the gradient's sign, whatever its size.

So a run whose losses part from the reference's is not forgiven the difference. The reference is
computed anew with one such input, then two, then three, on the other side, and all losses must
then agree as closely as the first one must.

How near is too near to tell was measured: float32 in NumPy against float64, 94 runs of ``mlp`` and
``lenet5`` at batches of 64 and 512, ten steps, as far as all kinks were decided alike. Of a layer's
inputs, in units of their root mean square, half were off by less than 2e-6, and the worst by 2e-6
in the median layer; in one layer of ten by more than 2e-5, once Adam had turned the sign of an
update. A dot product of n terms errs by about ``sqrt(n) u``, u = 2^-24 (Higham and Mary 2019, "A
New Approach to Probabilistic Rounding Error Analysis"): 1.2e-6 for the 400 terms of ``dense1``.
The bound is 64 u, twice the worst of the median layer. Inputs that had indeed parted 29 runs were
at most 4e-7 from their kink, and 8e-7 in a run with Paddle.
"""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlab.fairness import reference
from distlab.fairness.optimizers import Oracle
from distlab.fairness.reference import Array, Parameters
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Trainable
from distlab.models.rewrite import pool_first
from distlab.models.spec import ModelSpec

UNDECIDED = 64 * 2.0**-24
"""From this distance of a kink on, in root mean squares of a layer's input, float32 decides."""
EQUAL = 1e-13
"""Below this distance float64 itself cannot tell: equal pixels, which side does not matter."""
DECISIONS = 3
CANDIDATES = 16
"""How many inputs are tried for each decision, the nearest to their kink first."""
STEPS = 100
"""After so many steps of the reference nothing more is tried; ten are a reference by itself."""


@dataclass(frozen=True, eq=False)
class Undecided:
    """Elements of a layer's input that float32 cannot tell from those on the kink's other side.

    Attributes
    ----------
    step:
        From 0.
    place:
        The layer's index in the spec whose ReLUs stand behind the max-pools
        (:func:`~distlab.models.rewrite.pool_first`), where every backend has them.
    elements:
        int64 ``[n]``: which elements of the layer's flattened input.
    values:
        float64 ``[n]``: what they are on the other side.
    distance:
        From the kink, in root mean squares of the layer's input.
    words:
        Which input of which sample this is; all counts but the step's begin at 0.
    """

    step: int
    place: int
    elements: NDArray[np.int64]
    values: NDArray[np.float64]
    distance: float
    words: str


def applies(spec: ModelSpec) -> bool:
    """Whether a model has only such layers as are looked at here, one behind the other."""
    return all(
        isinstance(layer, Dense | Conv2D | ReLU | Flatten)
        or (isinstance(layer, MaxPool2D) and layer.tiles(shape))
        for layer, shape in spec.along()
    )


@dataclass(frozen=True)
class Agreement:
    """What had to be decided otherwise, and the reference's losses, float64 ``[steps]``, then."""

    decided: tuple[Undecided, ...]
    losses: NDArray[np.float64]


@dataclass(frozen=True)
class _Step:
    """One step of the reference, and the weights and the optimizer's state before it."""

    weights: Parameters
    optimizer: Oracle
    loss: float
    undecided: tuple[Undecided, ...]


def agreement(
    spec: ModelSpec,
    weights: Parameters,
    images: Array,
    labels: NDArray[np.integer[Any]],
    order: NDArray[np.integer[Any]],
    optimizer: Oracle,
    rates: NDArray[np.float64],
    found: NDArray[np.float64],
    tolerance: float,
) -> Agreement | None:
    """Decide undecided inputs the other way until the reference's losses are those of a run.

    The first loss that parts has its cause in an earlier step. The undecided inputs of those
    steps are tried, the nearest to their kink first, until the losses agree for longer; from there
    the search goes on with the next loss that parts.

    Parameters
    ----------
    spec, weights, images, labels, order:
        As for :func:`distlab.fairness.reference.train`.
    optimizer:
        Before its first step.
    rates:
        The learning rate of each step.
    found:
        float64 ``[steps]``: the run's losses.
    tolerance:
        How far each loss may be from the reference's, relatively.

    Returns
    -------
    Agreement or None
        None if no three decisions, of those that are tried, explain the losses.
    """
    replay = _Replay(spec, images, labels, order, rates, found, tolerance)
    decided: tuple[Undecided, ...] = ()
    steps = replay.follow([], weights, optimizer, decided)
    while not replay.agrees(steps):
        if len(decided) == DECISIONS:
            return None
        earlier = [one for step in steps[:-1] for one in step.undecided]
        for one in sorted(earlier, key=lambda one: one.distance)[:CANDIDATES]:
            if replay.computed >= STEPS:
                return None
            before, start = steps[: one.step], steps[one.step]
            trial = replay.follow(before, start.weights, start.optimizer, (*decided, one))
            if replay.agrees(trial) or len(trial) > len(steps):
                steps, decided = trial, (*decided, one)
                break
        else:
            return None
    return Agreement(decided, np.array([step.loss for step in steps]))


class _Replay:
    """The reference's steps under given decisions, as long as its losses are those of a run."""

    def __init__(
        self,
        spec: ModelSpec,
        images: Array,
        labels: NDArray[np.integer[Any]],
        order: NDArray[np.integer[Any]],
        rates: NDArray[np.float64],
        found: NDArray[np.float64],
        tolerance: float,
    ) -> None:
        self._spec = replace(spec, layers=pool_first(spec.layers))
        self._images, self._labels, self._order = images, labels, order
        self._rates, self._found, self._tolerance = rates, found, tolerance
        self.computed = 0

    def follow(
        self,
        past: list[_Step],
        weights: Parameters,
        optimizer: Oracle,
        decided: tuple[Undecided, ...],
    ) -> list[_Step]:
        """Go on after the steps of the past, up to the first loss that is not the run's."""
        steps = list(past)
        for batch in self._order[len(past) :]:
            decisions = _Decisions(self._spec, len(steps), decided)
            loss, gradients = reference.loss_and_gradients(
                self._spec, weights, self._images[batch], self._labels[batch], decisions.take
            )
            self.computed += 1
            steps.append(_Step(weights, optimizer, loss, tuple(decisions.undecided)))
            if not self._close(steps):
                break
            optimizer = deepcopy(optimizer)
            weights = optimizer.step(weights, gradients, float(self._rates[len(steps) - 1]))
        return steps

    def _close(self, steps: list[_Step]) -> bool:
        """Whether the last of these steps has the run's loss."""
        expected = steps[-1].loss
        return bool(abs(self._found[len(steps) - 1] - expected) <= self._tolerance * expected)

    def agrees(self, steps: list[_Step]) -> bool:
        """Whether these are all steps of the run, with its losses."""
        return len(steps) == len(self._order) and self._close(steps)


class _Decisions:
    """Takes the inputs of one step's layers to their other side, and lists what is undecided."""

    def __init__(self, spec: ModelSpec, step: int, decided: tuple[Undecided, ...]) -> None:
        self._spec, self._step = spec, step
        self._decided = [one for one in decided if one.step == step]
        self.undecided: list[Undecided] = []

    def take(self, place: int, x: Array) -> Array:
        """Give the layer at this place its input."""
        layer = self._spec.layers[place]
        found: Iterator[Undecided] = iter(())
        if isinstance(layer, ReLU):
            found = self._kinks(place, x)
        if isinstance(layer, MaxPool2D):
            found = self._ties(place, layer.size, x)
        decided = [one for one in self._decided if one.place == place]
        taken = {element for one in decided for element in one.elements}
        self.undecided.extend(one for one in found if taken.isdisjoint(one.elements))
        for one in decided:
            x = x.copy()
            x.flat[one.elements] = one.values
        return x

    def _kinks(self, place: int, x: Array) -> Iterator[Undecided]:
        """Inputs of a ReLU near zero; equal ones, which equal pixels give, are decided together."""
        size = math.sqrt(np.mean(x * x))
        near = (np.abs(x) > EQUAL * size) & (np.abs(x) <= UNDECIDED * size)
        for value in np.unique(x[near]):
            elements = np.flatnonzero(x == value)
            sample, unit = self._at(x, elements[0])
            words = f"{sample}: input {unit} of the ReLU {self._behind(place)} is {value:.1e}"
            if len(elements) > 1:
                words += f" (and {len(elements) - 1} equal ones)"
            others = np.full(len(elements), -value)
            yield Undecided(self._step, place, elements, others, abs(value) / size, words)

    def _ties(self, place: int, size: int, x: Array) -> Iterator[Undecided]:
        """The two greatest elements of a window near each other, if a gradient may pass there."""
        samples, channels, height, width = x.shape
        shape = samples, channels, height // size, size, width // size, size
        numbers = np.arange(x.size).reshape(shape).swapaxes(3, 4).reshape(-1, size * size)
        windows = x.reshape(shape).swapaxes(3, 4).reshape(-1, size * size)
        second, first = np.partition(windows, -2, axis=1)[:, -2:].T
        scale = math.sqrt(np.mean(x * x))
        near = (first - second > EQUAL * scale) & (first - second <= UNDECIDED * scale)
        if isinstance(next(iter(self._spec.layers[place + 1 :]), None), ReLU):
            near &= first > 0
        for window in np.flatnonzero(near):
            elements = numbers[window, np.argsort(windows[window])[-2:]]
            values = x.flat[elements[::-1]]
            distance = float(values[0] - values[1]) / scale
            (sample, one), (_, other) = (self._at(x, element) for element in elements)
            words = (
                f"{sample}: inputs {one} and {other} of the max-pool {self._behind(place)} "
                f"are {values[0] - values[1]:.1e} apart"
            )
            yield Undecided(self._step, place, elements, values, distance, words)

    def _at(self, x: Array, element: np.int64) -> tuple[str, str]:
        """Which step and sample an element of an input belongs to, and where it stands in that."""
        sample, *unit = map(int, np.unravel_index(element, x.shape))
        return f"step {self._step + 1}, sample {sample}", ", ".join(map(str, unit))

    def _behind(self, place: int) -> str:
        """Name a layer without a name by the last one before it that has one."""
        names = [one.name for one in self._spec.layers[:place] if isinstance(one, Trainable)]
        return f"behind {names[-1]}" if names else "in front"

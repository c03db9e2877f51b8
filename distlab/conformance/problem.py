"""What the conformance suite asks of a backend, and the answers of the float64 oracle.

The images are real: ``mnist5k``, which is embedded. Both models take ten steps of one global
batch. The models differ in Adam's constants, on purpose:

- ``mlp`` takes uncommon ones. With epsilon = 1e-3, as large as the root of the second moment, an
  epsilon in the wrong place changes the first updates by a factor of up to 10 (in the paper's
  other form, "epsilon hat", it is divided by ``sqrt(1 - beta2^t)``), and an update depends
  smoothly on its gradient, so that weights can be compared.
- ``lenet5`` takes those that runs use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import OptimizerState, Placement, Program
from distlab.data.dataset import LabelledImages
from distlab.data.order import epoch_order, evaluation_range
from distlab.fairness import reference
from distlab.models.shipped import MODELS
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights, draw

STEPS = 10
HALFWAY = 5
SEED = 7
TRAIN_SAMPLES = 2000
GLOBAL_BATCH = 32
EVALUATION_WORLD_SIZE = 3
TEST_SAMPLES = 1027
"""No multiple of 3 nor of any usual batch, and above 1,000, a usual batch of evaluations."""
LEAST_MARGIN = 1e-3
"""Between the two largest logits of a test sample; below, rounding may decide which is larger."""
PROGRAMS = {
    "mlp": Program(GLOBAL_BATCH, learning_rate=2e-3, beta1=0.8, beta2=0.99, epsilon=1e-3),
    "lenet5": Program(GLOBAL_BATCH),
}
SPECIAL_VALUES = (-0.0, 1e-40, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 1 / 3)
"""Negative zero, subnormal numbers, the smallest normal one, the largest, and a rounded one."""
SPECIAL_STEP = 7
MOMENTS = ("first_moment", "second_moment")


def averaged_values(rank: int) -> NDArray[np.float32]:
    """What a rank gives to be averaged over the ranks: 1,001 values of its own."""
    return np.random.default_rng([SEED, rank]).standard_normal(1_001, np.float32)


@dataclass(frozen=True)
class Trajectory:
    """The oracle's way: losses before each step, and where it ends (float64)."""

    losses: NDArray[np.float64]
    weights: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Problem:
    """One model's questions (float32) and the oracle's answers (float64).

    Attributes
    ----------
    program:
        As one worker would run it: ``local_batch`` is the global batch.
    order:
        ``[10, 32]``: the samples of each global batch.
    halfway, halfway_state:
        The oracle's weights and Adam's state after five steps, rounded to float32.
    special, special_state:
        Arrays to be stored and read back; all elements differ but for some special values.
    gradients:
        Those of the first step.
    whole, resumed:
        Ten steps from ``initial``, and the last five of them from ``halfway``.
    test_correct, test_losses:
        For each test sample with the weights ``halfway``.
    """

    spec: ModelSpec
    program: Program
    train: LabelledImages
    test: LabelledImages
    order: NDArray[np.int32]
    initial: Weights
    halfway: Weights
    halfway_state: OptimizerState
    special: Weights
    special_state: OptimizerState
    gradients: dict[str, NDArray[np.float64]]
    whole: Trajectory
    resumed: Trajectory
    test_correct: NDArray[np.bool_]
    test_losses: NDArray[np.float64]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Test ranges to evaluate: those of three ranks, an empty one and a single sample."""
        samples = len(self.test[1])
        thirds = [
            evaluation_range(samples, rank, EVALUATION_WORLD_SIZE)
            for rank in range(EVALUATION_WORLD_SIZE)
        ]
        return [*thirds, (samples, samples), (samples - 1, samples), (0, samples)]


@dataclass(frozen=True)
class Job:
    """What one rank's process is told.

    Attributes
    ----------
    framework:
        A backend's name, or ``module:Class``.
    execution:
        Which one, by name or as an index into the backend's ``executions``: only the process that
        imports the backend knows them.
    problem:
        What is asked; None for the small models of :mod:`distlab.conformance.kinds`.
    """

    framework: str
    execution: int | str
    placement: Placement
    problem: Problem | None


def _embedded() -> tuple[LabelledImages, LabelledImages]:
    """The images of ``mnist5k``."""
    from distlab.data import sources  # needs packages that a borrowed machine has not got

    return sources.load("mnist5k").normalized()


@lru_cache
def pose(
    model: str,
    spec: ModelSpec | None = None,
    load: Callable[[], tuple[LabelledImages, LabelledImages]] | None = None,
) -> Problem:
    """Make the problem of one of the models ``mlp`` and ``lenet5``.

    Parameters
    ----------
    model:
        Its name.
    spec:
        The model, where its file can't be read.
    load:
        Gives a training and a test set of images in place of ``mnist5k``, at least 2,000 and 1,127.
    """
    spec, program = spec or MODELS[model], PROGRAMS[model]
    (images, labels), (test_images, test_labels) = (load or _embedded)()
    train = images[:TRAIN_SAMPLES], labels[:TRAIN_SAMPLES]
    order = epoch_order(SEED, 0, TRAIN_SAMPLES, GLOBAL_BATCH)[:STEPS]
    initial = draw(spec, SEED)
    adam = reference.Adam(program.learning_rate, program.beta1, program.beta2, program.epsilon)
    _, gradients = reference.loss_and_gradients(
        spec, initial, *(array[order[0]] for array in train)
    )
    first = Trajectory(*reference.train(spec, adam, initial, *train, order[:HALFWAY]))
    halfway = _rounded(first.weights)
    halfway_state = OptimizerState(adam.t, _rounded(adam.m), _rounded(adam.v))
    rest = Trajectory(*reference.train(spec, adam, first.weights, *train, order[HALFWAY:]))
    whole = Trajectory(np.concatenate([first.losses, rest.losses]), rest.weights)
    adam.t = halfway_state.step
    adam.m, adam.v = (
        {name: array.astype(np.float64) for name, array in moment.items()}
        for moment in (halfway_state.first_moment, halfway_state.second_moment)
    )
    resumed = Trajectory(*reference.train(spec, adam, halfway, *train, order[HALFWAY:]))

    test_images = np.concatenate([test_images, images[TRAIN_SAMPLES:]])[: TEST_SAMPLES + 100]
    test_labels = np.concatenate([test_labels, labels[TRAIN_SAMPLES:]])[: TEST_SAMPLES + 100]
    logits = reference.logits(spec, halfway, test_images)
    top = np.sort(logits, axis=1)[:, -2:]
    clear = np.flatnonzero(top[:, 1] - top[:, 0] > LEAST_MARGIN)[:TEST_SAMPLES]
    assert len(clear) == TEST_SAMPLES
    losses = reference.cross_entropies(logits, test_labels)
    return Problem(
        spec=spec,
        program=program,
        train=train,
        test=(test_images[clear], test_labels[clear]),
        order=order,
        initial=initial,
        halfway=halfway,
        halfway_state=halfway_state,
        special=_special(spec, 0),
        special_state=OptimizerState(SPECIAL_STEP, _special(spec, 1), _special(spec, 2)),
        gradients=gradients,
        whole=whole,
        resumed=resumed,
        test_correct=(logits.argmax(axis=1) == test_labels)[clear],
        test_losses=losses[clear],
    )


def _rounded(arrays: dict[str, NDArray[np.float64]]) -> Weights:
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _special(spec: ModelSpec, offset: int) -> Weights:
    """Arrays in which each element tells its place, so that any permutation shows."""
    arrays: Weights = {}
    for index, (name, shape) in enumerate(spec.parameters.items()):
        size = int(np.prod(shape))
        array = np.arange(size, dtype=np.float32) + np.float32((index + 1) / 16 + offset / 256)
        places = slice(offset % size, min(size, offset + len(SPECIAL_VALUES)))
        array[places] = SPECIAL_VALUES[: places.stop - places.start]
        arrays[name] = array.reshape(shape)
    return arrays

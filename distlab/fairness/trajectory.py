"""A run's first losses against those of the float64 reference.

The reference takes as many of the ten steps as it can in about half a minute on one core: those of
:data:`AFFORDABLE_FLOPS`, so that how many does not depend on the machine or its load.

In networks of dense layers, convolutions, ReLUs and max-pools one behind the other, what float32
cannot tell is known input by input (:mod:`distlab.fairness.kinks`). In any other network, where
thousands of inputs may lie near a kink, float32's own error is the measure: the reference is
computed in float32, too, and a run may be off by :data:`ALLOWANCE` times as much as that was off by
until then. At the first step the bound grows with the values that are added up to normalize a batch
(:func:`first_bound`).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike, NDArray

from distlab.data.dataset import normalize
from distlab.data.order import epoch_order
from distlab.experiment.options import Precision
from distlab.fairness import kinks, optimizers, reference, stopping
from distlab.fairness.check import Check
from distlab.fairness.rounding import (
    FP32_FIRST,
    UNIT_ROUNDOFF,
    loss_errors,
    why_not,
)
from distlab.models.layers import BatchNorm, Layer, Residual, Shape
from distlab.models.layers.residual import along
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights, draw
from distlab.outcome.record import FIRST_LOSSES, Record

AFFORDABLE_FLOPS = 6e10
"""Of all steps together: some 20 s in float64 and 8 s in float32 on one core of a server."""
LEAST_STEPS = 2
"""The second loss is the first that a gradient has a part in."""
ALLOWANCE = 16.0
"""How many times as far as NumPy's float32 a run in float32 may be off, in its largest error.

Two float32 implementations add in other orders, and so turn other signs of Adam's first updates.
"""
ALLOWED_AT_LEAST = 5e-4
"""From the second step on: what one input beyond a kink may do, where NumPy's float32 had none."""
ALLOWED_AT_MOST = 5e-2
"""Where float32 leaves more, nothing is told any more: the steps from there on are not compared."""
UNDECIDED_LOSSES = 1e-2
"""Of losses that are off by more, what float32 cannot tell is not the cause."""

First = tuple[ModelSpec, Weights, np.ndarray, np.ndarray, np.ndarray]
"""A model, its initial weights, images, labels, and the first batches of samples among these."""

_LOSSES: dict[Hashable, "Losses"] = {}


@dataclass(frozen=True)
class Losses:
    """The reference's first losses, and how far float32 may part from each, relatively.

    ``allowed`` is None where the bounds are those of any network.
    """

    exact: NDArray[np.float64]
    allowed: NDArray[np.float64] | None


def trajectory(record: Record) -> Check:
    """7: the first losses are those of the float64 NumPy reference.

    With ``fp32`` the first must agree to 2e-6 relative, all ten to 1e-4; or all ten to 2e-6, where
    the reference takes inputs of ReLUs and max-pools the other way of which float32 cannot tell on
    which side of a kink they are (:mod:`distlab.fairness.kinks`); where it cannot look at these,
    the bound is what float32 leaves (see above). Bounds of the other precisions are wider, and
    there the first three may not all agree to 2e-6 (:mod:`distlab.fairness.rounding`).
    """
    experiment = record.experiment
    expected = reference_losses(record)
    wanted = min(FIRST_LOSSES, stopping.steps(record))
    found = np.array(record.first_losses)
    if found.size != wanted:
        return Check(False, f"{found.size} losses, the reference has {wanted}")
    if not found.size:
        return Check(False, "no losses")
    found = found[: expected.exact.size]
    error = loss_errors(found, expected.exact)
    precision = experiment.options.precision
    wrong = why_not(error, str(precision), experiment.global_batch, expected.allowed)
    detail = (
        f"relative error against float64 {error[0]:.1e} at step 1, "
        f"{error.max():.1e} in {error.size} steps"
    )
    if error.size < wanted:
        done = affordable(experiment.spec, experiment.global_batch)
        why = "can do in half a minute" if error.size == done else "and float32 can tell"
        detail += f" (of {wanted}: what the reference {why})"
    exact = precision is Precision.fp32 and error[0] <= FP32_FIRST
    looked_at = kinks.applies(experiment.spec) and error.max() <= UNDECIDED_LOSSES
    if wrong is not None and exact and looked_at:
        chosen = optimizers.of(experiment.program)
        other = kinks.agreement(
            *_first_steps(record), chosen, _first_rates(record), found, FP32_FIRST
        )
        if other is not None:
            left = loss_errors(found, other.losses).max()
            decided = "; ".join(one.words for one in other.decided)
            return Check(
                True, f"{detail}, but {left:.1e} with what float32 can't tell decided: {decided}"
            )
    return Check(wrong is None, f"{detail}{f': {wrong}' if wrong else ''}")


def reference_losses(record: Record) -> Losses:
    """The first losses by NumPy in float64, from the same weights and samples.

    They are the same for every framework, so a study computes them once for each seed and batch.
    """
    experiment, options = record.experiment, record.experiment.options
    # Batch normalization sees each worker's samples by themselves.
    workers = record.trained[0].world_size if experiment.spec.buffers and record.trained else 1
    rounded = options.precision.value in UNIT_ROUNDOFF
    key = (
        experiment.spec,
        record.dataset.checksum,
        min(FIRST_LOSSES, stopping.steps(record)),
        experiment.global_batch,
        experiment.run_seed,
        replace(experiment.program, local_batch=0, execution="eager", precision="fp32"),
        tuple(_first_rates(record)),
        workers,
        rounded,
    )
    if key not in _LOSSES:
        first = _first_steps(record)
        exact = _losses(record, first, workers)
        allowed = None
        if not kinks.applies(experiment.spec) and not rounded:
            single = _losses(record, first, workers, np.float32)
            off = np.maximum.accumulate(loss_errors(single, exact))
            allowed = np.maximum(ALLOWED_AT_LEAST, ALLOWANCE * off)
            allowed[0] = first_bound(experiment.spec, experiment.global_batch // workers)
            told = max(LEAST_STEPS, int((allowed <= ALLOWED_AT_MOST).sum()))
            exact, allowed = exact[:told], allowed[:told]
        _LOSSES[key] = Losses(exact, allowed)
    return _LOSSES[key]


def affordable(spec: ModelSpec, global_batch: int) -> int:
    """How many of the first ten steps the reference takes."""
    steps = int(AFFORDABLE_FLOPS / (spec.training_flops * global_batch))
    return max(LEAST_STEPS, min(FIRST_LOSSES, steps))


def first_bound(spec: ModelSpec, samples: int) -> float:
    """How far the first loss may be off: as in any network, more where batches are normalized.

    Frameworks may add up the values of a channel one by one in float32: n additions are off by
    about ``sqrt(n)`` unit roundoffs (Higham and Mary 2019), where n counts those of all layers of
    batch normalization, one behind the other. In trials with ``resnet20`` on ``mnist5k`` the
    greatest relative errors of the first loss were

    =======  ======  =====  ===========  ===========  ===========  ======================
    samples  bound   seeds  torch eager  tf eager     paddle       NumPy float32
    =======  ======  =====  ===========  ===========  ===========  ======================
          8  1.4e-5  12-24  2.6e-6       5.1e-6       1.3e-7       1.5e-7
         64  4.0e-5  24     9.6e-6       2.2e-5       9.2e-8       1.1e-7
        256  8.1e-5  6                   2.8e-5
    =======  ======  =====  ===========  ===========  ===========  ======================

    and never above 1.6e-7 in the MLP, LeNet-5 and ``vit``. (6 seeds of Paddle, 12 of NumPy. Torch
    adds one by one where channels come last: by itself its kernel is off by 3.3e-6 there, else by
    5.2e-8.) Another framework's epsilon, 1e-3 instead of 1e-5, moves the loss by 4e-4 or more.

    Parameters
    ----------
    spec:
        The model.
    samples:
        Of one worker's batch.
    """
    added = samples * _normalized(spec.layers, spec.input_shape)
    return max(FP32_FIRST, math.sqrt(added) * 2.0**-24)


def _normalized(layers: Sequence[Layer], shape: Shape) -> int:
    """How many values of one channel of one sample all layers of batch normalization take."""
    found = 0
    for layer, given in along(layers, shape):
        if isinstance(layer, BatchNorm):
            found += math.prod(given[1:])
        elif isinstance(layer, Residual):
            found += _normalized(layer.body, given) + _normalized(layer.shortcut, given)
    return found


def _losses(
    record: Record, first: First, workers: int, dtype: DTypeLike = np.float64
) -> NDArray[np.float64]:
    """Those of the reference in the first steps, computed in a type."""
    chosen = optimizers.of(record.experiment.program)
    spec, weights, images, labels, order = first
    rates = _first_rates(record)
    return reference.train(spec, chosen, weights, images, labels, order, workers, dtype, rates)[0]


def _first_rates(record: Record) -> NDArray[np.float64]:
    """The learning rates of the first steps."""
    steps = len(record.dataset.train_labels) // record.experiment.global_batch
    return record.experiment.rates(steps)[:FIRST_LOSSES]


def _first_steps(record: Record) -> First:
    """Model, initial weights, images, labels and the first batches of samples among these."""
    experiment, options = record.experiment, record.experiment.options
    total, spec = len(record.dataset.train_labels), experiment.spec
    wanted = min(affordable(spec, experiment.global_batch), stopping.steps(record))
    batches: list[np.ndarray] = []
    for epoch in range(options.epochs):
        batches.extend(epoch_order(experiment.run_seed, epoch, total, experiment.global_batch))
        if len(batches) >= wanted:
            break
    order = np.stack(batches[:wanted])
    used, places = np.unique(order, return_inverse=True)
    return (
        spec,
        draw(spec, experiment.run_seed),
        normalize(record.dataset.train_images[used]),
        record.dataset.train_labels[used],
        places.reshape(order.shape),
    )

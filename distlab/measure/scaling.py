"""How long a step takes on more workers than were measured, and how far that may be off.

A step of n workers is the step that was measured on the most, plus what the exchange of gradients
takes longer (:mod:`distlab.measure.collectives`), plus, under strong scaling, what the smaller
batch changes in the computing. How much of a longer exchange hides behind the computing isn't
known, nor which algorithm runs where only one number of workers was measured. So the range is the
hull of all that the measurements leave open:

- each algorithm that they don't refute, with latencies and bandwidths from both quartiles of what
  was timed, at small and at large sizes, each way;
- nothing of what is added hidden (the step grows by all that the all-reduce does), and as much
  hidden as was measured (the exposed part grows by the all-reduce's factor);
- what is added is off by as much as the fit is off the times that were measured;
- the interval of the step that was measured, of which the predicted one is as far off.

It is no confidence interval. Stragglers, congestion, and cores, memory and links that workers share
are not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from distlab.measure.collectives import Fit

LEAST = 1e6
"""How many times as quick as the measured step no other one is taken to be."""


class Range(NamedTuple):
    """A value, and between which ends it may lie."""

    value: float
    low: float
    high: float


NONE = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Base:
    """The measured step from which others are predicted.

    Attributes
    ----------
    workers:
        How many took it.
    seconds:
        What it took.
    exposed:
        Seconds of it that go away where gradients are not exchanged; noise may put ends below 0.
    size:
        Bytes of the gradient.
    alone:
        Seconds of the gradient's all-reduce by itself; None where that isn't known.
    """

    workers: int
    seconds: Range
    exposed: Range
    size: int
    alone: float | None = None


@dataclass(frozen=True)
class Step:
    """A predicted step: its seconds, and which share of it the exposed exchange makes up."""

    seconds: Range
    exchange: float


def step(base: Base, fits: Sequence[Fit], workers: int, computing: Range = NONE) -> Step:
    """Predict the step of so many workers.

    Parameters
    ----------
    base:
        What was measured.
    fits:
        The all-reduces that may be at work, the likeliest first.
    workers:
        Two and more.
    computing:
        What its computing takes longer than the base's, in seconds.
    """
    growth = [
        (one.seconds(workers, base.size) / one.seconds(base.workers, base.size) - 1, one.error)
        for one in fits
        if one.seconds(base.workers, base.size) > 0
    ]
    exposed = [max(0.0, end) for end in base.exposed]
    told = base.alone is not None and base.exposed.low > 0
    grows = [*exposed, *([] if base.alone is None else [base.alone])]
    likeliest = grows[-1 if told else 0] * growth[0][0]
    every = [
        one * more * (1 + off) for one in grows for more, error in growth for off in (-error, error)
    ]
    # An exchange that shrinks takes no more away than there is.
    likeliest, least, most = (max(-exposed[0], one) for one in (likeliest, min(every), max(every)))
    value, low, high = base.seconds
    ends = (
        value + computing.value + likeliest,
        (value + computing.low + least) * low / value,
        (value + computing.high + most) * high / value,
    )
    seconds = Range(*(max(value / LEAST, one) for one in ends))
    return Step(seconds, min(1.0, (exposed[0] + likeliest) / seconds.value))


def computing(measured: Mapping[float, float], base: float, batch: float) -> Range:
    """What the computing of a step takes longer at another local batch: below 0 at a smaller one.

    A line through what was measured, neither of whose terms is negative: so much a step, and so
    much a sample. Beyond the measured batches the ends are those of time in proportion to the batch
    and of time that doesn't change any more.

    Parameters
    ----------
    measured:
        Seconds of a step's computing by local batch, the base's among them.
    base, batch:
        The base's local batch, and the one that is asked for.
    """
    sizes, times = np.array(list(measured)), np.array(list(measured.values()))
    rows = np.stack([1 / times, sizes / times], axis=1)
    scale = rows.max(axis=0)
    (fixed, each), _ = nnls(rows / scale, np.ones(len(rows)))
    line = fixed / scale[0], each / scale[1]
    value = float(line[1] * (batch - base))
    if sizes.min() <= batch <= sizes.max():
        return Range(value, value, value)
    nearest = float(sizes.min() if batch < sizes.min() else sizes.max())
    ends = sorted(measured[nearest] * factor for factor in (1.0, batch / nearest))
    low, high = (end - measured[base] for end in ends)
    return Range(value, min(low, value), max(high, value))

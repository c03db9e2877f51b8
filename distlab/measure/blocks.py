"""Figures over repeats in which the worker process is a level of its own.

Two processes of the same program differ for as long as they live: where their memory lies, for
example, is settled when they start. Repeats in one process share that, so that they are no
independent draws of a framework's speed, and more of them make a wrong interval narrower (Kalibera
& Jones 2013, "Rigorous Benchmarking in Reasonable Time"). Here repeats that share a group of worker
processes on either side make up a *block*; blocks have nothing in common but the machine, which
both sides of a pair share. The mean logarithm of a block is one draw, and Student's t interval
(Student 1908) over draws holds whatever processes, runs and neighbours do to a run.

Where processes were not varied (fewer than three blocks), repeats are the draws, and the variance
of the mean grows by a stated floor for each side: that of a process effect of ``PROCESS_SD``, over
the number of blocks. With one block and no noise at all a ratio is then known to 7 %, and smaller
differences are never claimed.

A figure of one cell, other than a ratio, has noise to one side: a neighbour only ever slows a run.
Its interval is the hull of Student's and the median's, so that it holds the speed of a typical run
also where the mean lies beside it. The median's is by order statistics (David & Nagaraja 2003,
section 7.1); of fewer than six draws even the ends hold it too seldom, and it is the median plus
and minus t s sqrt(pi / 2 n), with the standard error of a median under normal noise (Cramér 1946,
section 28.5). In a pair both sides are disturbed alike.

Figures are geometric means: the mean under which a ratio and its reciprocal agree (Fleming &
Wallace 1986), and under which the ratio of two means over the same repeats is the mean ratio.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from distlab.measure.statistics import CONFIDENCE, FEWEST, Estimate

PROCESS_SD = 0.025
"""Relative standard deviation of what differs from process to process: 2.4 % to 2.8 % among eight
kept processes of one torch step that took turns on one core (an imprecise figure, taken as it is
only where a study has none of its own)."""
DAY_SD = 0.03
"""Relative standard deviation of a machine from one study to another. A supposition, not measured:
a machine that wanders by 5 % (standard deviation) in the time of a study is 2.9 % off in its
mean."""


class Measured(NamedTuple):
    """A figure of one run, and the group of worker processes that made it (None: not known)."""

    figure: float
    group: str | None


Sample = Mapping[int, Measured]
"""Figures by repeat."""


@dataclass(frozen=True)
class Effect:
    """The mean of logarithms over draws, and what is known of its error.

    Attributes
    ----------
    value:
        The mean.
    variance:
        Sample variance of the draws; None with fewer than three, or of two independent samples.
    draws:
        Number of blocks, or of repeats where processes were not varied.
    floor:
        What the variance of the mean has in addition because processes were not varied.
    error, df:
        Standard error of the mean and its degrees of freedom; None without an interval.
    middle:
        95 % interval of the draws' median; None with fewer than three.
    n:
        Number of repeats, of independent samples that of the smaller one.
    """

    value: float
    variance: float | None
    draws: int
    floor: float
    error: float | None
    df: float
    n: int
    middle: tuple[float, float] | None = None

    @property
    def estimate(self) -> Estimate:
        """The figure itself, with its 95 % interval."""
        return _exponential(self.interval)

    @property
    def typical(self) -> Estimate:
        """The figure itself, with an interval that holds that of a typical run too."""
        return _exponential(self.hull)

    @property
    def interval(self) -> Estimate:
        """The mean with Student's interval."""
        if self.error is None:
            return Estimate(self.value, None, None, self.n)
        half = float(stdtrit(self.df, (1 + CONFIDENCE) / 2)) * self.error
        return Estimate(self.value, self.value - half, self.value + half, self.n)

    @property
    def hull(self) -> Estimate:
        """The mean with the hull of Student's interval and the median's."""
        found = self.interval
        if self.middle is None or found.low is None or found.high is None:
            return found
        floor = float(stdtrit(math.inf, (1 + CONFIDENCE) / 2)) * math.sqrt(self.floor)
        low, high = self.middle[0] - floor, self.middle[1] + floor
        return Estimate(self.value, min(low, found.low), max(high, found.high), self.n)

    def p(self, error: float | None = None, df: float | None = None) -> float:
        """Two-sided probability of so great an effect if there is none; 1 without an interval.

        Parameters
        ----------
        error, df:
            Other knowledge of the error than the effect's own.
        """
        error, df = self.error if error is None else error, self.df if df is None else df
        if error is None:
            return 1.0
        if error == 0.0:
            return float(self.value == 0.0)
        return float(2 * stdtr(df, -abs(self.value) / error))


def mean(sample: Sample) -> Effect:
    """The mean over the runs of one cell.

    What drifts with the machine over the whole study is in the interval as far as repeats show it;
    the figure is of the time of the study.

    Raises
    ------
    ValueError
        If there is no figure, or one that is not positive and finite.
    """
    logs = {repeat: _logarithm(run.figure) for repeat, run in sample.items()}
    return _effect(logs, blocks(sample), sides=1)


def paired(numerator: Sample, denominator: Sample) -> Effect:
    """How one cell stands to another, from the repeats that both have.

    Raises
    ------
    ValueError
        If no repeat is in both, or a figure is not positive and finite.
    """
    both = sorted(numerator.keys() & denominator.keys())
    above, below = ({k: side[k] for k in both} for side in (numerator, denominator))
    logs = {k: _logarithm(above[k].figure) - _logarithm(below[k].figure) for k in both}
    return _effect(logs, blocks(above, below), sides=2)


def unpaired(numerator: Sample, denominator: Sample, *, apart: bool = False) -> Effect:
    """How one cell stands to another that shares no repeats with it (Welch 1947).

    Parameters
    ----------
    numerator, denominator:
        The two samples.
    apart:
        Whether they are of different studies. Each side's variance then grows by ``DAY_SD``
        squared, because no repeat of a study says how days differ.
    """
    sides = mean(numerator), mean(denominator)
    one, other = sides
    value, n = one.value - other.value, min(one.n, other.n)
    draws = min(one.draws, other.draws)
    if one.error is None or other.error is None:
        return Effect(value, None, draws, 0.0, None, 0.0, n)
    floor = sum(side.floor + DAY_SD**2 * apart for side in sides)
    parts = [((side.variance or 0.0) / side.draws, side.draws - 1) for side in sides]
    squared = sum(part for part, _ in parts) + floor
    uncertain = sum(part**2 / df for part, df in parts)
    df = squared**2 / uncertain if uncertain else math.inf
    return Effect(value, None, draws, floor, math.sqrt(squared), df, n)


def difference(left: Sample, right: Sample) -> Estimate:
    """The first cell's figure less the second's, in their own unit, from common repeats.

    The floor is that of both means, each times ``PROCESS_SD``. As a figure of one cell has, the
    interval holds what typical runs differ by.
    """
    both = sorted(left.keys() & right.keys())
    above, below = ({k: side[k] for k in both} for side in (left, right))
    values = {k: above[k].figure - below[k].figure for k in both}
    size = math.hypot(*(float(np.mean([r.figure for r in s.values()])) for s in (above, below)))
    return _effect(values, blocks(above, below), sides=1, scale=size).hull


def blocks(*sides: Sample) -> list[list[int]]:
    """Repeats that share a group of processes on any side, directly or over others, together.

    Runs whose group is not known are taken as one group a side.
    """
    found: list[tuple[set[tuple[int, str | None]], list[int]]] = []
    for repeat in sorted(sides[0]):
        groups = {(place, side[repeat].group) for place, side in enumerate(sides)}
        joined = [block for block in found if block[0] & groups]
        found = [block for block in found if not block[0] & groups]
        repeats = sorted([repeat, *(k for _, members in joined for k in members)])
        found.append((groups.union(*(own for own, _ in joined)), repeats))
    return sorted(repeats for _, repeats in found)


def _effect(
    values: Mapping[int, float], found: Sequence[Sequence[int]], sides: int, scale: float = 1.0
) -> Effect:
    """The mean over blocks, or over repeats and with a floor where there are too few blocks."""
    n = len(values)
    if n == 0:
        raise ValueError("there is no figure, or no repeat in common")
    varied = len(found) >= FEWEST
    draws = [float(np.mean([values[k] for k in block])) for block in found]
    draws = draws if varied else list(values.values())
    value = float(np.mean(draws))
    if n < FEWEST:
        return Effect(value, None, len(draws), 0.0, None, 0.0, n)
    floor = 0.0 if varied else sides * (scale * PROCESS_SD) ** 2 / len(found)
    variance = float(np.var(draws, ddof=1))
    error, df = combined(variance, len(draws), len(draws) - 1, floor)
    return Effect(value, variance, len(draws), floor, error, df, n, _middle(sorted(draws)))


def combined(variance: float, draws: int, df: float, floor: float) -> tuple[float, float]:
    """Standard error of a mean with a known floor, and its degrees of freedom.

    Those are Satterthwaite's (1946), the floor being known exactly.
    """
    own = variance / draws
    return math.sqrt(own + floor), df * ((own + floor) / own) ** 2 if own else math.inf


def _middle(draws: Sequence[float]) -> tuple[float, float]:
    """Bounds that hold the median of all draws that might have been in 95 %."""
    n = len(draws)
    tail = outside = 0
    while tail + math.comb(n, outside) <= (1 - CONFIDENCE) / 2 * 2**n:
        tail, outside = tail + math.comb(n, outside), outside + 1
    if outside:
        return draws[outside - 1], draws[n - outside]
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * np.std(draws, ddof=1))
    half *= math.sqrt(math.pi / (2 * n))
    return float(np.median(draws)) - half, float(np.median(draws)) + half


def _exponential(found: Estimate) -> Estimate:
    if found.low is None or found.high is None:
        return Estimate(math.exp(found.value), None, None, found.n)
    return Estimate(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.n)


def _logarithm(figure: float) -> float:
    if not (math.isfinite(figure) and figure > 0):
        raise ValueError(f"a figure is not positive and finite: {figure}")
    return math.log(figure)

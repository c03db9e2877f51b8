"""What the exchange of gradients costs a run: an estimate, its interval, and what can't be told."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from distlab.measure.efficiency import communication_share
from distlab.measure.statistics import CONFIDENCE
from distlab.outcome.events import AllReduce, ExchangeWindows

UNTOLD = "not told from 0"


class Share(NamedTuple):
    """The exchange's share of a step, of 1, and the ends of its 95 % interval (None without)."""

    value: float
    low: float | None = None
    high: float | None = None


def share(ranks: Sequence[ExchangeWindows]) -> Share | None:
    """The exchange's share of a step in one run; None where it was not measured.

    The share is of each side's median window of the slowest ranks. If windows with and without the
    exchange differ by a factor alone, the factor lies between the extremes of their ratios with a
    probability of 1 - 2 / C(n + m, n), for n and m windows: the widest interval that the rank-sum
    test inverts to (Lehmann 1963, "Nonparametric confidence intervals for a shift parameter").
    That is 97 % for four windows each; of fewer there is no interval. It is of this run and its
    worker processes alone.

    Parameters
    ----------
    ranks:
        The windows of each rank.
    """
    if not ranks:
        return None
    on = np.max([one.with_exchange for one in ranks], axis=0)
    off = np.max([one.without for one in ranks], axis=0)
    value = communication_share(float(np.median(on)), float(np.median(off)))
    if 2 / math.comb(len(on) + len(off), len(on)) > 1 - CONFIDENCE:
        return Share(value)
    return Share(
        value,
        communication_share(float(on.min()), float(off.max())),
        communication_share(float(on.max()), float(off.min())),
    )


def all_reduces(ranks: Sequence[Sequence[AllReduce]]) -> list[dict[str, Any]]:
    """What averaging arrays took, by size: of each window the slowest rank's seconds.

    Parameters
    ----------
    ranks:
        What each rank measured; nothing where one measured nothing.
    """
    if not ranks or not all(ranks):
        return []
    return [
        {
            "bytes": sizes[0].bytes,
            "seconds": [float(s) for s in np.max([one.seconds for one in sizes], axis=0)],
        }
        for sizes in zip(*ranks, strict=True)
    ]


def told(low: float | None) -> bool:
    """Whether a share is told from 0, by the lower end of its interval.

    Nothing is gained by an exchange: a share whose interval lies below 0 is noise, too.
    """
    return low is not None and low > 0


def in_words(summary: Mapping[str, Any]) -> str | None:
    """A run's share as a table shows it: ``12.3% of a step (10.1% to 15.0%)``.

    One that is not told from 0 says so with its interval; None where it was not measured.
    """
    value, low, high = (summary.get(f"communication_share{end}") for end in ("", "_low", "_high"))
    if value is None:
        return None
    if low is None or high is None:
        return f"{value:.1%} of a step (no interval)"
    shown = f"{value:.1%} of a step" if told(low) else UNTOLD
    return f"{shown} ({low:.1%} to {high:.1%})"

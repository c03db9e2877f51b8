"""How a study is laid out: the order of its runs, and how many share a group of processes."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from statistics import fmean, variance

from scipy.special import stdtrit

from distlab.measure.statistics import CONFIDENCE, FEWEST, Estimate

POWER = 0.8
"""How likely a difference is to be told with as many repeats as :func:`repeats_to_tell` says."""
CORRECTION = 1.25
"""By how much a claim's interval is wider than its own, being one among others in a report."""


def place(study: str, repeat: int, cell: str) -> str:
    """Where a cell stands in a repeat: cells run in the order of these texts.

    Equal to a shuffle that is drawn anew in each repeat, with the study's id as its seed, so that a
    drift of the machine, or a neighbour in the order, favours no cell over the repeats (Fisher
    1935, "The Design of Experiments": randomisation within blocks).
    """
    return hashlib.sha256(f"{study} {repeat} {cell}".encode()).hexdigest()


def level_ratio(cells: Iterable[Sequence[Sequence[float]]]) -> float:
    """How much runs of one process differ, over how much processes do, as standard deviations.

    By the one-way analysis of variance (Searle, Casella & McCulloch 1992, "Variance Components",
    section 3.6), over groups with as many runs each: the variance between processes is that of the
    groups' means less that of a mean of runs, but at least a tenth of it.

    Parameters
    ----------
    cells:
        Of each cell, and in it of each group of processes, the figures of its runs.

    Returns
    -------
    float
        1 where no cell has two groups of two runs or more: nothing is known then.
    """
    within, between = [], []
    for groups in cells:
        runs = min((len(group) for group in groups if len(group) > 1), default=0)
        logs = [[math.log(x) for x in group[:runs]] for group in groups if len(group) >= runs > 1]
        if len(logs) > 1:
            own = fmean(variance(group) for group in logs)
            of_means = variance([fmean(group) for group in logs])
            within.append(own)
            between.append(max(of_means - own / runs, of_means / 10))
    if not within or not fmean(between):
        return 1.0
    return math.sqrt(fmean(within) / fmean(between))


def repeats_a_group(
    starts: Sequence[float], runs: Sequence[float], repeats: int, ratio: float = 1.0
) -> int:
    """How many repeats a group of worker processes serves before another one is started.

    Kalibera & Jones (2013), "Rigorous Benchmarking in Reasonable Time", equation 3: the variance of
    a mean falls fastest for its cost with ``sqrt(start / run) * ratio`` runs in each process. Here
    at least three groups are left, without which processes would have no level of their own; with
    fewer than three repeats nothing is claimed, and all share one group.

    Parameters
    ----------
    starts:
        Seconds that each start of a group took.
    runs:
        Seconds of each run, its start left out.
    repeats:
        How many repeats there will be.
    ratio:
        Standard deviation between runs of one process over that between processes
        (:func:`level_ratio`).
    """
    if repeats < FEWEST:
        return max(repeats, 1)
    if not starts or not runs:
        return 1
    best = math.sqrt(sum(starts) / len(starts) / (sum(runs) / len(runs))) * ratio
    return max(1, min(round(best), repeats // FEWEST))


def repeats_to_tell(ratio: Estimate, most: int = 60) -> int | None:
    """How many repeats are likely to tell a difference that so many did not.

    The sample size of a paired t test (Cohen 1988, "Statistical Power Analysis", section 2.4): the
    fewest n for which the difference's logarithm exceeds its standard error times the sum of
    Student's t at the level of a claim and at the power. The true ratio is taken to be the
    estimated one, and the noise that of the repeats so far.

    Parameters
    ----------
    ratio:
        What the study found, with an interval.
    most:
        More repeats than these are not looked at.

    Returns
    -------
    int or None
        None where not even ``most`` would do, or where there is no interval yet.
    """
    if ratio.low is None or ratio.high is None:
        return None
    difference = abs(math.log(ratio.value))
    half = math.log(ratio.high / ratio.low) / 2
    deviation = half * math.sqrt(ratio.n) / stdtrit(ratio.n - 1, (1 + CONFIDENCE) / 2)
    for n in range(ratio.n + 1, most + 1):
        t = CORRECTION * stdtrit(n - 1, (1 + CONFIDENCE) / 2) + stdtrit(n - 1, POWER)
        if difference > t * deviation / math.sqrt(n):
            return n
    return None

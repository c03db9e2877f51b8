"""How long averaging an array over n workers takes, by the alpha-beta model.

A message of s bytes takes alpha + s beta: a latency in seconds, and seconds a byte (Hockney 1994,
"The communication challenge for MPP: Intel Paragon and Meiko CS-2"). Of it Thakur, Rabenseifner and
Gropp (2005, "Optimization of Collective Communication Operations in MPICH") make the time of an
all-reduce of S bytes over n workers, with lg n rounded up:

=============  ================  ==================
algorithm      latencies         arrays sent
=============  ================  ==================
ring           2 (n - 1)         2 (n - 1) / n
halving        2 lg n            2 (n - 1) / n
doubling       lg n              lg n
=============  ================  ==================

which is latencies * alpha + arrays sent * S beta. ``halving`` is Rabenseifner's: recursive halving,
then doubling; a double binary tree (Sanders, Speck & Träff 2009), as NCCL has it, sends as much in
about as many rounds. The paper's gamma, seconds to add a byte, is a part of beta here, since in
each algorithm it stands beside it in one proportion. Contention of messages is not in the model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

ALGORITHMS = ("ring", "halving", "doubling")
NOT_REFUTED = 2.0
"""An algorithm stays possible while its error is at most so many times that of the best one."""


class Timed(NamedTuple):
    """What averaging an array of ``bytes`` over so many workers took, in seconds."""

    workers: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Fit:
    """An algorithm with the constants of a machine.

    Attributes
    ----------
    alpha, beta:
        Latency in seconds, and seconds a byte (a beta of 1e-9 is 1 GB/s).
    error:
        Root of the mean squared relative error over what was timed.
    """

    algorithm: str
    alpha: float
    beta: float
    error: float = 0.0

    def seconds(self, workers: int, size: float) -> float:
        """How long averaging an array of ``size`` bytes takes; nothing for one worker."""
        latencies, sent = _terms(self.algorithm, workers)
        return latencies * self.alpha + sent * size * self.beta


def fit(algorithm: str, timed: Sequence[Timed]) -> Fit:
    """The alpha and beta, neither below 0, whose squared relative errors are least in sum.

    Parameters
    ----------
    algorithm:
        One of ``ALGORITHMS``.
    timed:
        At least one time, over two and more workers, of which all are positive.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not timed:
        raise ValueError("no all-reduce was timed")
    rows = np.array(
        [
            (latencies / one.seconds, sent * one.bytes / one.seconds)
            for one in timed
            for latencies, sent in [_terms(algorithm, one.workers)]
        ]
    )
    # Latencies and bytes differ by six orders of magnitude.
    scale = rows.max(axis=0)
    scaled, _ = nnls(rows / scale, np.ones(len(rows)))
    alpha, beta = (float(value) for value in scaled / scale)
    error = float(np.sqrt(np.mean((rows @ np.array([alpha, beta]) - 1) ** 2)))
    return Fit(algorithm, alpha, beta, error)


def fits(timed: Sequence[Timed]) -> list[Fit]:
    """The algorithms that may be at work, each fitted; the likeliest first.

    Of times over one number of workers all fit alike, and the ring, which is what gloo and
    TensorFlow's RING do, comes first. Of several numbers the one with the least error does, and
    those with more than ``NOT_REFUTED`` times its error are left out.
    """
    found = sorted((fit(algorithm, timed) for algorithm in ALGORITHMS), key=lambda one: one.error)
    if len({one.workers for one in timed}) == 1:
        return sorted(found, key=lambda one: ALGORITHMS.index(one.algorithm))
    return [one for one in found if one.error <= NOT_REFUTED * found[0].error]


def _terms(algorithm: str, workers: int) -> tuple[float, float]:
    """How many latencies an algorithm takes, and how often it sends the array."""
    rounds, sent = math.ceil(math.log2(workers)), 2 * (workers - 1) / workers
    if algorithm == "ring":
        return 2 * (workers - 1), sent
    return (2 * rounds, sent) if algorithm == "halving" else (rounds, rounds)

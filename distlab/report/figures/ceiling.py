"""What a study's machine can multiply: one denominator of utilisation for all its frameworks.

Each run measures the best matrix product in its precision anew, and such measurements differ by a
tenth. So a report takes the measurements of all its runs on a kind of device with as many workers
and threads together: the median of each framework's runs, and of these the greatest, since the
machine can do what the best library does.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distlab.report.figures.runs import Run, precision

Place = tuple[Any, ...]
"""Device, precision, workers and threads of each."""


@dataclass(frozen=True)
class Ceiling:
    """The rate of matrix products, over all workers.

    Attributes
    ----------
    flops_per_s:
        Floating-point operations a second.
    low, high:
        The least and the greatest that a run measured.
    runs:
        How many measured it.
    """

    flops_per_s: float
    low: float
    high: float
    runs: int


def place(run: Run) -> Place:
    """What must be equal for two runs to have one ceiling."""
    return run.get("device_name"), precision(run), run["world_size"], run.get("threads_per_worker")


def ceilings(runs: Sequence[Run]) -> dict[Place, Ceiling]:
    """The ceiling of each place where any run measured it."""
    measured: dict[Place, dict[str, list[float]]] = {}
    for run in runs:
        if run.get("matrix_product_flops_per_s"):
            of_place = measured.setdefault(place(run), {})
            of_place.setdefault(run["framework"], []).append(run["matrix_product_flops_per_s"])
    return {where: _ceiling(by_framework) for where, by_framework in measured.items()}


def _ceiling(by_framework: Mapping[str, Sequence[float]]) -> Ceiling:
    every = [rate for rates in by_framework.values() for rate in rates]
    best = max(map(statistics.median, by_framework.values()))
    return Ceiling(best, min(every), max(every), len(every))

"""Whether a machine became slower or quicker from repeat to repeat of a study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from distlab.measure.statistics import CONFIDENCE, FEWEST


@dataclass(frozen=True)
class Drift:
    """A trend of all cells together.

    Attributes
    ----------
    change:
        By how much figures changed from the first repeat to the last: 0.05 is 5 % more.
    p:
        Two-sided probability of so strong a trend where there is none.
    """

    change: float
    p: float

    @property
    def told(self) -> bool:
        """Whether it is more than chance, at 5 %."""
        return self.p < 1 - CONFIDENCE


def drift(cells: Sequence[Mapping[int, float]]) -> Drift | None:
    """The trend of figures over repeats, all cells taken together.

    A repeat's value is the mean, over the cells that have it, of the logarithm's distance from the
    cell's own mean, so that what runs of a repeat share counts once; its slope over repeats is
    tested by Student's t with two degrees of freedom less than there are repeats (Draper & Smith
    1998, "Applied Regression Analysis", section 1.4).

    Parameters
    ----------
    cells:
        Positive figures by repeat, such as samples/s, of each cell.

    Returns
    -------
    Drift or None
        None with fewer than three repeats.
    """
    distances: dict[int, list[float]] = {}
    for cell in cells:
        logs = {repeat: math.log(figure) for repeat, figure in cell.items()}
        for repeat, value in logs.items():
            distances.setdefault(repeat, []).append(value - float(np.mean(list(logs.values()))))
    if len(distances) < FEWEST:
        return None
    repeats = sorted(distances)
    values = [float(np.mean(distances[repeat])) for repeat in repeats]
    if len(set(values)) == 1:
        return Drift(0.0, 1.0)
    found = stats.linregress(repeats, values)
    return Drift(math.expm1(found.slope * (repeats[-1] - repeats[0])), float(found.pvalue))

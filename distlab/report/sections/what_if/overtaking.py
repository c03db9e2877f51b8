"""From which length of a job on the framework of the faster epochs is ahead, start-up included.

A framework that starts later may train faster. With D the seconds that it starts (and compiles)
later, and S those that it saves an epoch, it is ahead after D / S epochs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distlab.console import counted
from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import Comparison
from distlab.report.figures.runs import epochs_taken
from distlab.report.sections.tables import number
from distlab.report.sections.what_if.job_time import FAR, job_time

MOST_SENTENCES = 6


@dataclass(frozen=True)
class Overtaking:
    """Two cells of which one starts sooner and the other is told to train faster.

    Attributes
    ----------
    faster, sooner:
        The cells.
    later_s:
        Seconds that the faster one starts its first step later.
    saved_s:
        Seconds that it saves an epoch.
    after:
        Epochs after which it is ahead.
    """

    faster: Cell
    sooner: Cell
    later_s: float
    saved_s: float
    after: int

    @property
    def sentence(self) -> str:
        """All of it in words; ``about`` where it is far from what was measured."""
        measured = epochs_taken(self.faster.counted[0])
        about = "about " if self.after > FAR * measured else ""
        cell = self.faster
        return (
            f"{cell.model} on {cell.workers} ({cell.scaling} scaling, batch {cell.batch_size}): "
            f"{cell.name} starts {number(self.later_s, 2)} s later than {self.sooner.name} and is "
            f"ahead after {about}{counted(self.after, 'epoch')}."
        )


def overtakings(comparisons: Sequence[Comparison]) -> list[Overtaking]:
    """All such pairs, of those that the report tells apart."""
    found = []
    for pair in comparisons:
        quick, slow = job_time(pair.faster), job_time(pair.slower)
        if not pair.told or quick is None or slow is None:
            continue
        later = quick.start + quick.compile - slow.start - slow.compile
        saved = slow.training + slow.rest - quick.training - quick.rest
        if later > 0 and saved > 0:
            after = max(1, math.ceil(later / saved))
            found.append(Overtaking(pair.faster, pair.slower, later, saved, after))
    return found


def sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """The first of them in words, and how many more there are."""
    every = [found.sentence for found in overtakings(comparisons)]
    more = len(every) - MOST_SENTENCES
    return every[:MOST_SENTENCES] + [f"So are {more} more; report.json has them."] * (more > 0)

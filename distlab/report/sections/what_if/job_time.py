"""What if: how long a job of another length takes, from what the study's cells took."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from distlab.report.figures.cells import Cell
from distlab.report.figures.groups import Group
from distlab.report.sections.tables import Table, Value, number

EPOCHS = (1, 10, 100, 1000)
"""Lengths of a job for which a table tells its time."""


@dataclass(frozen=True)
class JobTime:
    """What a job of a cell is made of, in seconds.

    Attributes
    ----------
    start:
        From the command to the first step, without compiling: the median of started runs.
    compile:
        Of the cell's first run; next to nothing where the steps came from a cache.
    epoch:
        Training and evaluation of one epoch.
    measured:
        Epochs that were measured: more are an extrapolation.
    """

    start: float
    compile: float
    epoch: float
    measured: int

    def seconds(self, epochs: int) -> float:
        """A job of so many epochs, in seconds."""
        return self.start + self.compile + epochs * self.epoch


def job_time(cell: Cell) -> JobTime | None:
    """What a cell's job is made of; None where one of its parts isn't known."""
    if cell.startup_s is None or cell.compile_s is None or cell.epoch_time_s is None:
        return None
    start = max(0.0, cell.startup_s - cell.compile_s)
    rests = [
        (run["wall_s"] - run["startup_s"] - sum(run["epoch_time_s"])) / len(run["epoch_time_s"])
        for run in cell.counted
        if run.get("wall_s") is not None and run.get("startup_s") is not None
    ]
    # What is neither start nor training, an epoch at a time: evaluation, and the records.
    rest = max(0.0, statistics.median(rests)) if rests else 0.0
    epoch = cell.epoch_time_s.value + rest
    return JobTime(start, cell.compile_s, epoch, len(cell.counted[0]["epoch_time_s"]))


def table(group: Group) -> Table | None:
    """Seconds of a job of each ranked cell by its epochs; None where nothing is known.

    The least of each length and number of epochs is no claim: intervals are wide and this table has
    none.
    """
    known = [(cell, job_time(cell)) for cell in group.ranked]
    rows = []
    for cell, time in known:
        if time is None:
            continue
        rows.append(
            [
                Value(cell.name),
                Value(f"{cell.world_size} {cell.device.upper()}"),
                *(_shown(time, epochs) for epochs in EPOCHS),
            ]
        )
    if not rows:
        return None
    columns = ["framework", "workers", *(_epochs(epochs) for epochs in EPOCHS)]
    return Table(group.title, columns, rows, frozenset({"framework"}))


def tables(groups: Sequence[Group]) -> list[Table]:
    """The table of each group that has one."""
    return [found for group in groups if (found := table(group)) is not None]


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'s' * (count != 1)}, s"


def _shown(time: JobTime, epochs: int) -> Value:
    # Extrapolated by more than ten times what was measured, a figure is an order of magnitude.
    far = epochs > 10 * time.measured
    shown = number(time.seconds(epochs), 2 if far else 3)
    return Value(f"~{shown}" if far else shown)

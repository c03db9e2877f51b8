"""What if: how long a job of another length takes, from what the study's cells took."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from distlab.report.figures.cell import Cell
from distlab.report.figures.groups import Group
from distlab.report.figures.runs import epochs_taken
from distlab.report.sections.tables import Table, Value, number

EPOCHS = (1, 10, 100, 1000)
"""Lengths of a job for which a table tells its time."""
FAR = 10
"""How many times as long as measured, or as short, a job is no more than an order of magnitude."""


@dataclass(frozen=True)
class JobTime:
    """What a job of a cell is made of, in seconds.

    Attributes
    ----------
    start:
        From the command to the first step, without compiling: the median of started runs.
    compile:
        Of the cell's first run; next to nothing where the steps came from a cache.
    training:
        The steps of one epoch.
    rest:
        What an epoch takes besides: evaluation, and the records.
    samples:
        Training samples of an epoch, to which ``training`` is in proportion.
    measured:
        Epochs that were measured; the last counts by its part, if the run ended inside it.
    """

    start: float
    compile: float
    training: float
    rest: float
    samples: int
    measured: float

    def seconds(self, epochs: int, samples: int | None = None) -> float:
        """A job of so many epochs, in seconds; of as many samples as measured unless given."""
        share = 1.0 if samples is None else samples / self.samples
        return self.start + self.compile + epochs * (self.training * share + self.rest)

    def far(self, epochs: int, samples: int | None = None) -> bool:
        """Whether that is far from what was measured, so that its time is an extrapolation."""
        share = 1.0 if samples is None else samples / self.samples
        return epochs > FAR * self.measured or not 1 / FAR <= share <= FAR


def job_time(cell: Cell) -> JobTime | None:
    """What a cell's job is made of; None where one of its parts isn't known."""
    if cell.startup_s is None or cell.compile_s is None or cell.epoch_time_s is None:
        return None
    rests = [
        (run["wall_s"] - run["startup_s"] - sum(run["epoch_time_s"])) / epochs_taken(run)
        for run in cell.counted
        if run.get("wall_s") is not None and run.get("startup_s") is not None
    ]
    first = cell.counted[0]
    return JobTime(
        start=max(0.0, cell.startup_s - cell.compile_s),
        compile=cell.compile_s,
        training=cell.epoch_time_s.value,
        rest=max(0.0, statistics.median(rests)) if rests else 0.0,
        samples=first["steps_per_epoch"] * first["global_batch_size"],
        measured=epochs_taken(first),
    )


def jobs(groups: Sequence[Group]) -> list[JobTime]:
    """Those of all ranked cells, in the order of the rows of :func:`tables`."""
    every = (job_time(cell) for group in groups for cell in group.ranked)
    return [time for time in every if time is not None]


def table(group: Group) -> Table | None:
    """Seconds of a job of each ranked cell by its epochs; None where nothing is known.

    The least of each length and number of epochs is no claim: intervals are wide and this table has
    none.
    """
    rows = [
        [
            Value(cell.name),
            Value(f"{cell.world_size} {cell.device.upper()}"),
            *(_shown(time, epochs) for epochs in EPOCHS),
        ]
        for cell in group.ranked
        if (time := job_time(cell)) is not None
    ]
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
    far = time.far(epochs)
    shown = number(time.seconds(epochs), 2 if far else 3)
    return Value(f"~{shown}" if far else shown)

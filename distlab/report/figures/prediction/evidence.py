"""What a study measured that predictions are made of: steps, exchanges, all-reduces.

Runs that count are evidence. Where a number of workers has none, verified runs of a machine that
was only too noisy stand in, and what is made of them says so; workers that shared cores are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distlab.measure.blocks import PROCESS_SD, mean
from distlab.measure.collectives import Fit, Timed, fits
from distlab.measure.scaling import Base, Range
from distlab.outcome.caveats import Code, codes, doubts
from distlab.report.figures.cell import Cell
from distlab.report.figures.groups import Group, groups
from distlab.report.figures.overheads import exchange
from distlab.report.figures.runs import Run, reasons, sample

FLOAT32 = 4
"""Bytes of a parameter's gradient."""
SECONDS = (1e-9, 1e9)
"""What a step or an all-reduce may take; a record that says otherwise is damaged."""
MOST_BYTES = 2**50
QUARTILES = (0.5, 0.25, 0.75)
"""Of the windows in which an all-reduce was timed: the middle one, and the ends of a range."""
UNREPEATED = 2 * PROCESS_SD
"""How far a throughput may be off, either way, of which there are too few runs for an interval."""


@dataclass(frozen=True)
class Point:
    """A cell as evidence.

    Attributes
    ----------
    cell:
        The cell.
    runs:
        Its runs that are taken.
    throughput:
        Samples a second, of a range that is its interval or, without one, of ``UNREPEATED``.
    global_batch:
        Samples of a step.
    doubted:
        Whether its runs don't count, because the machine was too noisy.
    """

    cell: Cell
    runs: list[Run]
    throughput: Range
    global_batch: int
    doubted: bool

    @property
    def workers(self) -> int:
        """How many it has."""
        return self.cell.world_size

    @property
    def hosts(self) -> int | None:
        """On how many hosts they were; None where that was not recorded."""
        stretches = [run["stretches"][-1] for run in self.runs if run.get("stretches")]
        known = [len(set(stretch["hosts"])) for stretch in stretches if stretch.get("hosts")]
        return max(known, default=None)

    @property
    def seconds(self) -> Range:
        """Seconds of a step."""
        value, low, high = self.throughput
        seconds = (self.global_batch / max(rate, SECONDS[0]) for rate in (value, high, low))
        return Range(*(min(max(one, SECONDS[0]), SECONDS[1]) for one in seconds))

    @property
    def exposed(self) -> Range | None:
        """Seconds of a step that the exchange costs; 0 with one worker, None where not measured."""
        if self.workers == 1:
            return Range(0.0, 0.0, 0.0)
        share = exchange.share(self.runs)
        if share is None:
            return None
        lows = [run.get("communication_share_low") for run in self.runs]
        highs = [run.get("communication_share_high") for run in self.runs]
        low = min([share.value, *(one for one in lows if one is not None)])
        high = max([share.value, *(one for one in highs if one is not None)])
        if share.low is not None and share.high is not None:
            low, high = share.low, share.high
        return Range(*(part * self.seconds.value for part in (share.value, low, high)))

    def timed(self, size: int, at: float) -> float | None:
        """A quantile of the seconds in which arrays of a size were averaged; None without any."""
        found = [
            second
            for run in self.runs
            for one in run.get("all_reduces") or []
            if one.get("bytes") == size
            for second in one.get("seconds") or []
            if SECONDS[0] <= second <= SECONDS[1]
        ]
        return float(np.quantile(found, at)) if found else None

    @property
    def sizes(self) -> list[int]:
        """The sizes of arrays that were averaged, in bytes."""
        found = {one.get("bytes") for run in self.runs for one in run.get("all_reduces") or []}
        return sorted(size for size in found if size is not None and size <= MOST_BYTES)


@dataclass(frozen=True)
class Series:
    """One program on several numbers of workers.

    Attributes
    ----------
    group:
        The cells that it may be compared with.
    name:
        Who trains: ``torch eager``.
    points:
        By number of workers, those that are evidence.
    others:
        Cells that are not.
    """

    group: Group
    name: str
    points: dict[int, Point]
    others: list[Cell]

    @property
    def usable(self) -> list[Point]:
        """Points from which others are predicted: their exchange and all-reduces are known."""
        return [
            point
            for workers, point in sorted(self.points.items())
            if workers > 1 and point.exposed is not None and _all_reduces([point])
        ]

    @property
    def lacking(self) -> str:
        """Why nothing can be predicted of it, in words; nothing where it can."""
        if self.usable:
            return ""
        if any(workers > 1 for workers in self.points):
            return "its runs timed no all-reduce (measure_exchange=false, or an earlier distlab)"
        why = [
            f"{cell.workers}: {reasons(cell.runs, cell.failed, cell.diverged)}"
            for cell in self.others
            if cell.world_size > 1
        ]
        return "; ".join(why) or "it has no run with two and more workers"

    def one_worker(self) -> float | None:
        """Samples a second of one worker, here or in the store; None where none is known."""
        if 1 in self.points:
            return self.points[1].throughput.value
        for _, point in sorted(self.points.items()):
            if point.cell.speedup is not None:
                return point.throughput.value / point.cell.speedup.value
        return None


def series(cells: Sequence[Cell]) -> list[Series]:
    """The programs of a study, in the order of its cells."""
    found: dict[tuple[int, str], Series] = {}
    for place, group in enumerate(groups(cells)):
        for cell in group.cells:
            one = found.setdefault((place, cell.own), Series(group, cell.own, {}, []))
            point = _point(cell)
            if point is None:
                one.others.append(cell)
            else:
                one.points[cell.world_size] = point
    return list(found.values())


def base(point: Point) -> Base:
    """A usable point as that from which others are predicted."""
    assert point.exposed is not None
    size = FLOAT32 * int(point.runs[0]["parameters"])
    alone = point.timed(size, QUARTILES[0])
    return Base(point.workers, point.seconds, point.exposed, size, alone)


def all_fits(points: Sequence[Point]) -> list[Fit]:
    """The all-reduces that may be at work, from usable points; the likeliest first.

    The first are of the median times. Others are of the quartiles: all low, all high, and small
    arrays low where large ones are high and the other way round, which shifts most what latency
    and bandwidth explain.
    """
    middle, low, high = QUARTILES
    found = fits(_all_reduces(points, middle, middle))
    for small, large in ((low, low), (high, high), (low, high), (high, low)):
        found += fits(_all_reduces(points, small, large))
    return found


def _all_reduces(points: Sequence[Point], small: float = 0.5, large: float = 0.5) -> list[Timed]:
    """What was timed, by quantiles of small and of large arrays."""
    found = []
    for point in points:
        half = len(point.sizes) / 2
        for place, size in enumerate(point.sizes):
            seconds = point.timed(size, small if place < half else large)
            if seconds is not None:
                found.append(Timed(point.workers, size, seconds))
    return found


def _point(cell: Cell) -> Point | None:
    noisy = [
        run for run in cell.runs if run["verified"] and set(codes(doubts(run))) <= {Code.noisy}
    ]
    runs = cell.counted or noisy
    if not runs:
        return None
    speed = mean(sample(runs)).typical
    low = speed.value * (1 - UNREPEATED) if speed.low is None else speed.low
    high = speed.value * (1 + UNREPEATED) if speed.high is None else speed.high
    weak = cell.batch_size * (cell.world_size if cell.scaling == "weak" else 1)
    batch = runs[0].get("global_batch_size") or weak
    return Point(cell, runs, Range(speed.value, low, high), batch, not cell.counted)

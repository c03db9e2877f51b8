"""What a study's evidence says of more workers, and how it stands to those that were measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distlab.measure import scaling
from distlab.measure.collectives import Fit
from distlab.measure.scaling import NONE, Range
from distlab.outcome.caveats import codes, doubts
from distlab.report.figures.cell import Cell
from distlab.report.figures.prediction.evidence import (
    SECONDS,
    Point,
    Series,
    all_fits,
    base,
    series,
)
from distlab.report.figures.runs import Run


@dataclass(frozen=True)
class Predicted:
    """What is predicted of a number of workers, and what was measured.

    Attributes
    ----------
    throughput:
        Samples a second.
    efficiency:
        Throughput over that of as many times one worker's; None where that isn't known.
    exchange:
        Share of a step that the exchange costs.
    measured:
        Samples a second that were measured, in runs that count or, as ``doubt`` tells, that don't;
        None without any.
    doubt:
        Why what was measured doesn't count, in words; nothing where it does.
    """

    workers: int
    throughput: Range
    efficiency: Range | None
    exchange: float
    measured: float | None = None
    doubt: str = ""

    @property
    def off(self) -> float | None:
        """How far the prediction is above what was measured, relative to it."""
        return None if self.measured is None else self.throughput.value / self.measured - 1


@dataclass(frozen=True)
class Outlook:
    """What is predicted of one program.

    Attributes
    ----------
    series:
        The program and its evidence.
    fitted:
        The points that the prediction is made of, with two and more workers.
    fit:
        The likeliest all-reduce.
    predicted:
        By number of workers.
    """

    series: Series
    fitted: list[Point]
    fit: Fit
    predicted: list[Predicted]

    @property
    def base(self) -> Point:
        """The most workers that it is made of."""
        return self.fitted[-1]

    @property
    def doubted(self) -> bool:
        """Whether it is made of runs that don't count."""
        return any(point.doubted for point in self.fitted)


def outlook(one: Series, workers: Iterable[int]) -> Outlook | None:
    """Predict a program from all its evidence; None where there is not enough.

    Under strong scaling, numbers of workers that don't divide the batch are left out.
    """
    return _outlook(one, one.usable, workers) if one.usable else None


def outlooks(cells: Sequence[Cell], workers: Iterable[int] = ()) -> list[Outlook]:
    """Every program of which something can be predicted, from all its evidence."""
    found = [outlook(one, workers) for one in series(cells)]
    return [one for one in found if one is not None]


def held_out(cells: Sequence[Cell]) -> list[Outlook]:
    """Each program predicted from one worker and the fewest others, beside all that were measured.

    Programs that were measured on no further number of workers are left out.
    """
    found = []
    for one in series(cells):
        fewest = one.usable[:1]
        if not fewest:
            continue
        measured = {*one.points, *(cell.world_size for cell in one.others if _verified(cell))}
        rest = sorted(workers for workers in measured if workers > fewest[0].workers)
        if rest:
            found.append(_outlook(one, fewest, rest))
    return found


def _outlook(one: Series, fitted: list[Point], workers: Iterable[int]) -> Outlook:
    fits = all_fits(fitted)
    return Outlook(one, fitted, fits[0], [
        _predicted(one, fitted, fits, count) for count in workers if _possible(one, count)
    ])  # fmt: skip


def _possible(one: Series, workers: int) -> bool:
    """Whether so many workers can share the program's batch."""
    cell = one.group.cells[0]
    return workers > 1 and (cell.scaling == "weak" or cell.batch_size % workers == 0)


def _predicted(one: Series, fitted: list[Point], fits: Sequence[Fit], workers: int) -> Predicted:
    start = fitted[-1]
    weak = start.cell.scaling == "weak"
    batch = start.global_batch // start.workers * workers if weak else start.global_batch
    more = NONE if weak else _computing(one, fitted, batch / workers)
    step = scaling.step(base(start), fits, workers, more)
    value, low, high = (batch / seconds for seconds in step.seconds)
    throughput, alone = Range(value, high, low), one.one_worker()
    efficiency = alone and Range(*(rate / workers / alone for rate in throughput))
    return Predicted(
        workers, throughput, efficiency or None, step.exchange, *_measured(one, workers)
    )


def _computing(one: Series, fitted: Sequence[Point], batch: float) -> Range:
    """What the computing of a step takes longer than the base's with another local batch."""
    points = [one.points[1]] if 1 in one.points else []
    measured = {
        point.global_batch / point.workers: max(
            SECONDS[0], point.seconds.value - max(0.0, point.exposed.value)
        )
        for point in (*points, *fitted)
        if point.exposed is not None
    }
    start = fitted[-1]
    return scaling.computing(measured, start.global_batch / start.workers, batch)


def _measured(one: Series, workers: int) -> tuple[float | None, str]:
    """What so many workers did, and why it doesn't count."""
    if workers in one.points:
        point = one.points[workers]
        return point.throughput.value, "too noisy" if point.doubted else ""
    for cell in one.others:
        if cell.world_size == workers and (runs := _verified(cell)):
            rates = [run["throughput_samples_per_s"] for run in runs]
            found = codes([doubt for run in runs for doubt in doubts(run)])
            return sum(rates) / len(rates), ", ".join(code.words for code in found)
    return None, ""


def _verified(cell: Cell) -> list[Run]:
    return [run for run in cell.runs if run["verified"]]

"""Bars of a group's cells: throughput, what more workers bring, and where a step's time goes."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from distlab.measure.statistics import Estimate
from distlab.outcome.exchange import UNTOLD
from distlab.report.figures.cell import Cell
from distlab.report.figures.groups import Group
from distlab.report.plots.style import (
    GREY,
    INK,
    RULE,
    Chart,
    Style,
    Styles,
    canvas,
    error_lengths,
    height_of,
    legend,
    listed,
    milliseconds,
    rows,
    short,
    thousands,
    upper,
)


def throughput(group: Group, styles: Styles) -> Chart | None:
    """Throughput of each cell as a bar from zero, with its 95 % interval."""
    cells = [cell for cell in group.ranked if cell.throughput is not None]
    if not cells:
        return None
    said = []
    with canvas(height_of(cells)) as (figure, axes):
        places = rows(axes, cells)
        top = max(upper(cell.throughput) for cell in cells)
        for cell, place in zip(cells, places, strict=True):
            estimate = cell.throughput
            assert estimate is not None
            _bar(axes, place, estimate, styles.of(cell))
            _label(axes, place, upper(estimate) + 0.015 * top, short(estimate.value))
            said.append(f"{cell.label}: {short(estimate.value)}{_interval(estimate)}")
        axes.set_xlim(0, top * 1.16)
        shown = "geometric mean, 95% interval" if _any_interval(cells) else "no interval"
        axes.set_xlabel(f"samples/s ({shown})")
        thousands(axes)
    return Chart(figure, f"Samples/s: {listed(said)}.")


def scaling(group: Group, styles: Styles) -> Chart | None:
    """Speed-up over one worker of each cell with several, beside the ideal of so many workers."""
    cells = [cell for cell in group.ranked if cell.speedup is not None and cell.world_size > 1]
    if not cells:
        return None
    said = []
    with canvas(height_of(cells) + 0.2) as (figure, axes):
        places = rows(axes, cells)
        top = max(*(upper(cell.speedup) for cell in cells), *(cell.world_size for cell in cells))
        for cell, place in zip(cells, places, strict=True):
            speedup, efficiency = cell.speedup, cell.efficiency
            assert speedup is not None and efficiency is not None
            _bar(axes, place, speedup, styles.of(cell))
            ideal = cell.world_size
            axes.plot([ideal, ideal], [place - 0.4, place + 0.4], color=GREY, linewidth=1.6)
            words = f"{speedup.value:.2f} ({efficiency.value:.0%})"
            _label(axes, place, max(upper(speedup), ideal) + 0.02 * top, words)
            said.append(f"{cell.label}: {speedup.value:.2f}{_interval(speedup, '{:.2f}')}")
        axes.axvline(1, color=RULE, linewidth=1, zorder=0)
        axes.set_xlim(0, top * 1.32)
        axes.set_xlabel("speed-up over 1 worker (efficiency)")
        ideal_line = Line2D([], [], color=GREY, linewidth=1.6, label="ideal: as many as workers")
        legend(axes, [ideal_line])
    return Chart(figure, f"Speed-up over one worker: {listed(said)}.")


@dataclass(frozen=True)
class StepParts:
    """Where the time of a cell's step goes, in milliseconds of the slowest worker.

    Attributes
    ----------
    arithmetic:
        What the model's floating-point operations take at the rate of large matrix products, which
        is the utilisation's share of the step (Chowdhery et al. 2022, appendix B); None if unknown.
    exchange:
        What goes away where gradients are not exchanged; None if unknown, 0 with one worker and
        where it is not told from 0.
    rest:
        All else: memory, small kernels, the framework.
    """

    arithmetic: float | None
    exchange: float | None
    rest: float


def step_parts(cell: Cell) -> StepParts | None:
    """Split a cell's mean step; None where neither part is known."""
    steps = next((run.get("steps_per_epoch") for run in cell.counted), None)
    if cell.epoch_time_s is None or not steps:
        return None
    step = 1e3 * cell.epoch_time_s.value / steps
    none = cell.world_size == 1 or cell.communication_told is False
    exchange = 0.0 if none else _share(cell.communication_share)
    arithmetic = _share(cell.model_flop_utilisation)
    if arithmetic is None and not exchange:
        return None
    rest = max(0.0, 1 - (arithmetic or 0.0) - (exchange or 0.0))
    return StepParts(
        None if arithmetic is None else arithmetic * step,
        None if exchange is None else exchange * step,
        rest * step,
    )


def step_time(group: Group, styles: Styles) -> Chart | None:
    """Each cell's step in its parts, as a bar."""
    split = {cell.cell: step_parts(cell) for cell in group.ranked}
    cells = [cell for cell in group.ranked if split[cell.cell] is not None]
    if not cells:
        return None
    said = []
    with canvas(height_of(cells) + 0.5) as (figure, axes):
        places = rows(axes, cells)
        labels: list[tuple[float, float]] = []
        top = 0.0
        for cell, place in zip(cells, places, strict=True):
            parts, colour = split[cell.cell], styles.of(cell).colour
            assert parts is not None
            begin = 0.0
            for length, look in zip(
                (parts.arithmetic, parts.rest, parts.exchange), _LOOKS, strict=True
            ):
                if length:
                    axes.barh(
                        place, length, left=begin, height=0.72, color=colour, ec="white", **look
                    )
                    begin += length
            top = max(top, begin)
            labels.append((place, begin))
            untold = f", exchange {UNTOLD}" if cell.communication_told is False else ""
            said.append(f"{cell.label}: {milliseconds(begin)} ms, {_parts(parts)}{untold}")
        for place, at in labels:
            _label(axes, place, at + 0.015 * top, milliseconds(at))
        axes.set_xlim(0, top * 1.16)
        axes.set_xlabel("ms a step, of the slowest worker")
        names = ("arithmetic at its best", "the rest", "exchange")
        patches = [
            Patch(facecolor=GREY, edgecolor="white", label=name, **look)
            for name, look in zip(names, _LOOKS, strict=True)
        ]
        legend(axes, patches)
    return Chart(figure, f"A step: {listed(said)}.")


_LOOKS: tuple[dict[str, Any], ...] = ({}, {"alpha": 0.45}, {"alpha": 0.85, "hatch": "////"})


def _bar(axes: Axes, place: float, estimate: Estimate, style: Style) -> None:
    axes.barh(
        place,
        estimate.value,
        height=0.72,
        color=style.colour,
        alpha=1.0 if style.filled else 0.5,
        hatch=None if style.filled else "////",
        edgecolor="white",
    )
    if estimate.low is not None and estimate.high is not None:
        axes.errorbar(
            estimate.value,
            place,
            xerr=error_lengths(estimate),
            color=INK,
            capsize=3,
            linewidth=1.1,
        )


def _label(axes: Axes, place: float, at: float, text: str) -> None:
    axes.text(at, place, text, va="center")


def _any_interval(cells: list[Cell]) -> bool:
    return any(cell.throughput is not None and cell.throughput.low is not None for cell in cells)


def _interval(estimate: Estimate, form: str | None = None) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = (
        form.format(bound) if form else short(bound) for bound in (estimate.low, estimate.high)
    )
    return f" ({low} to {high})"


def _share(estimate: Estimate | None) -> float | None:
    """An estimated share of 1, inside of what a share can be."""
    return None if estimate is None else min(1.0, max(0.0, estimate.value))


def _parts(parts: StepParts) -> str:
    said = [f"the rest {milliseconds(parts.rest)}"]
    if parts.arithmetic is not None:
        said.insert(0, f"arithmetic {milliseconds(parts.arithmetic)}")
    if parts.exchange:
        said.append(f"exchange {milliseconds(parts.exchange)}")
    return ", ".join(said)

"""Ratios of frameworks with their intervals, and how far runs and epochs spread."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from distlab.measure.statistics import FEWEST
from distlab.report.figures.comparisons import Comparison, ratio_text
from distlab.report.figures.groups import Group
from distlab.report.figures.runs import epoch_times
from distlab.report.plots.style import (
    GREY,
    INK,
    Chart,
    Styles,
    canvas,
    height_of,
    legend,
    listed,
    marker_look,
    name_of,
    rows,
    value_of,
)

MOST_RATIOS = 40
"""More rows than these are no figure any more; the table has them all."""


def ratios(group: Group, comparisons: Sequence[Comparison]) -> Chart | None:
    """A forest plot: each ratio of throughputs with its interval, filled where it is told.

    Parameters
    ----------
    group:
        The cells.
    comparisons:
        Of the whole report; those of the group's cells with an interval are drawn.
    """
    members = {cell.cell for cell in group.cells}
    shown = [
        pair for pair in comparisons if pair.faster.cell in members and pair.ratio.low is not None
    ][:MOST_RATIOS]
    if not shown:
        return None
    said = []
    faster = [pair.faster for pair in shown]
    names = [f"{name_of(pair.faster)}\n/ {name_of(pair.slower)}" for pair in shown]
    with canvas(height_of(faster) + 0.25 + 0.14 * len(shown)) as (figure, axes):
        axes.axvline(1, color=GREY, linewidth=1)
        places = rows(axes, faster, names, height=1.4)
        for place, pair in zip(places, shown, strict=True):
            low, high = pair.ratio.low, pair.ratio.high
            assert low is not None and high is not None
            axes.plot([low, high], [place, place], color=INK, linewidth=1.3)
            axes.plot(
                pair.ratio.value,
                place,
                marker="s",
                markersize=6,
                color=INK,
                markerfacecolor=INK if pair.told else "white",
            )
            axes.text(
                1.02,
                place,
                ratio_text(pair.ratio, pair.ratio.value),
                transform=axes.get_yaxis_transform(),
                va="center",
                fontweight="bold" if pair.told else "normal",
            )
            told = "told" if pair.told else "not told"
            value, *ends = (ratio_text(pair.ratio, at) for at in (pair.ratio.value, low, high))
            said.append(
                f"{pair.faster.name} over {pair.slower.name} on {pair.faster.workers} "
                f"{value} ({ends[0]} to {ends[1]}), {told}"
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("ratio of throughputs, 95% interval")
        looks = (("told", INK), ("not told", "white"))
        squares = [
            Line2D([], [], color=INK, marker="s", ls="", markerfacecolor=face, label=label)
            for label, face in looks
        ]
        legend(axes, squares)
    return Chart(figure, f"Ratios of throughputs: {listed(said)}.")


def spread(group: Group, styles: Styles) -> Chart | None:
    """Each run's throughput, and each epoch's, against the mean of its cell.

    Runs are markers (crosses where they don't count), epochs thin strokes. A cell of fewer than
    three runs has epochs only, against the mean of their run.
    """
    cells = [cell for cell in group.cells if cell.throughput is not None]
    if not cells:
        return None
    said, several = [], False
    with canvas(height_of(cells) + 0.2) as (figure, axes):
        places = rows(axes, cells)
        axes.axvline(0, color=GREY, linewidth=1)
        widest = 1.0
        for cell, place in zip(cells, places, strict=True):
            style, middle = styles.of(cell), value_of(cell.throughput)
            known = [run for run in cell.runs if run.get("throughput_samples_per_s") is not None]
            between = len(cell.counted) >= FEWEST
            several |= between
            epochs: list[float] = []
            strokes: list[tuple[float, float]] = []
            for number, run in enumerate(known):
                # Repeats from top to bottom, in the order in which they ran.
                y = place - 0.25 + 0.5 * number / max(len(known) - 1, 1)
                y = place if len(known) == 1 else y
                rate = run["throughput_samples_per_s"]
                times = np.asarray(epoch_times(run), dtype=float)
                inside = 100 * (times.mean() / times - 1) if times.size else times
                at = 100 * (rate / middle - 1) if between else 0.0
                for x in at + inside:
                    strokes += [(x, y - 0.07), (x, y + 0.07), (np.nan, np.nan)]
                epochs += list(inside)
                widest = max(widest, abs(at), *np.abs(at + inside))
                if between:
                    counted = run in cell.counted
                    look: dict[str, Any] = marker_look(style) if counted else {"marker": "x"}
                    colour = style.colour if counted else GREY
                    axes.plot(at, y, color=colour, ls="", markersize=5, alpha=0.9, **look)
            if strokes:
                axes.plot(*zip(*strokes, strict=True), color=GREY, linewidth=0.8, zorder=1)
            runs = f"runs within {cell.spread:.1%} of each other, " if between else ""
            inside_most = max(map(abs, epochs), default=0.0)
            said.append(f"{cell.label}: {runs}epochs within {inside_most:.1f}% of their run")
        axes.set_xlim(-1.12 * widest, 1.12 * widest)
        axes.set_xlabel("difference from the mean in %")
        marks = [Line2D([], [], color=GREY, marker="|", ls="", label="an epoch")]
        if several:
            marks.append(Line2D([], [], color=GREY, marker="o", ls="", label="a run"))
        if several and any(len(cell.counted) < len(cell.runs) for cell in cells):
            marks.append(Line2D([], [], color=GREY, marker="x", ls="", label="set apart"))
        legend(axes, marks)
    return Chart(figure, f"Spread of throughput: {listed(said)}.")

"""Each kind of plot as a matplotlib figure of one group of cells, or None with nothing to show."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from distlab.report.figures.groups import Group
from distlab.report.plots.style import (
    GREY,
    INK,
    Styles,
    canvas,
    dash_of,
    error_lengths,
    height_of,
    keys,
    legend,
    line_look,
    marker_look,
    rows,
    series_of,
    short,
    thousands,
    two_and_five,
    upper,
    value_of,
    worker_keys,
)


def throughput(group: Group, styles: Styles) -> Figure | None:
    """Throughput of each cell as a bar from zero, with its 95 % interval."""
    cells = [cell for cell in group.ranked if cell.throughput is not None]
    if not cells:
        return None
    with canvas(height_of(cells)) as (figure, axes):
        places = rows(axes, cells)
        top = max(upper(cell.throughput) for cell in cells)
        for cell, place in zip(cells, places, strict=True):
            estimate, style = cell.throughput, styles.of(cell)
            assert estimate is not None
            axes.barh(
                place,
                estimate.value,
                height=0.72,
                color=style.colour,
                alpha=0.85 if style.filled else 0.45,
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
            axes.text(
                upper(estimate) + 0.015 * top,
                place,
                short(estimate.value),
                va="center",
                fontsize=8.5,
            )
        axes.set_xlim(0, top * 1.16)
        axes.set_xlabel("samples/s (geometric mean, 95 % interval)")
        thousands(axes)
    return figure


def scaling(group: Group, styles: Styles) -> Figure | None:
    """Speed-up over one worker by number of workers, against the ideal line."""
    cells = [cell for cell in group.ranked if cell.speedup is not None and cell.world_size > 1]
    if not cells:
        return None
    largest = max(cell.world_size for cell in cells)
    series = series_of(cells)
    with canvas(3.0) as (figure, axes):
        axes.plot([1, largest], [1, largest], color=GREY, linestyle=(0, (4, 3)), linewidth=1)
        for place, members in enumerate(series):
            style = styles.of(members[0])
            sizes = [1, *(cell.world_size for cell in members)]
            # Side by side, by a few percent, where intervals would hide each other.
            nudge = 1 + 0.018 * (place - (len(series) - 1) / 2)
            xs = [1, *(size * nudge for size in sizes[1:])]
            axes.plot(xs, [1, *(value_of(c.speedup) for c in members)], **line_look(style))
            for x, cell in zip(xs[1:], members, strict=True):
                if cell.speedup is not None and cell.speedup.low is not None:
                    axes.errorbar(
                        x,
                        cell.speedup.value,
                        error_lengths(cell.speedup),
                        color=style.colour,
                        capsize=3,
                    )
        sizes = sorted({1, *(cell.world_size for cell in cells)})
        # Both axes by powers of two, on which the ideal is a straight line.
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xlim(0.93, largest * 1.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("workers")
        axes.set_ylabel("speed-up over 1 worker")
        ideal = Line2D([], [], color=GREY, linestyle=(0, (4, 3)), linewidth=1, label="ideal")
        legend(axes, [*keys(series, styles), ideal])
    return figure


def losses(group: Group, styles: Styles) -> Figure | None:
    """Training loss of each cell's first counted run, over each other."""
    cells = [c for c in group.ranked if (c.counted[0].get("loss_curve") or {}).get("step")]
    if not cells:
        return None
    with canvas(3.0) as (figure, axes):
        for place, members in enumerate(series_of(cells)):
            for cell in members:
                curve = cell.counted[0]["loss_curve"]
                axes.plot(
                    curve["step"],
                    curve["loss"],
                    color=styles.of(cell).colour,
                    linestyle=dash_of(group, cell.world_size),
                    # Each wider than the next and below it, so that equal curves all show.
                    linewidth=max(1.0, 4.4 - 1.7 * place),
                    zorder=3 + place,
                )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(two_and_five))
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("training loss")
        thousands(axes)
        legend(axes, [*keys(series_of(cells), styles, marked=False), *worker_keys(group, cells)])
    return figure


def accuracy(group: Group, styles: Styles) -> Figure | None:
    """Test accuracy after each epoch against training time: each run, and the runs' mean."""
    cells = group.ranked
    if not cells:
        return None
    with canvas(3.0) as (figure, axes):
        for cell in cells:
            style, dash = styles.of(cell), dash_of(group, cell.world_size)
            times = [np.cumsum(run["epoch_time_s"]) for run in cell.counted]
            values = [100 * np.asarray(run["test_accuracy"], dtype=float) for run in cell.counted]
            if len(cell.counted) > 1:
                for seconds, percent in zip(times, values, strict=True):
                    axes.plot(seconds, percent, color=style.colour, alpha=0.22, linewidth=0.8)
            epochs = min(len(seconds) for seconds in times)
            axes.plot(
                np.mean([seconds[:epochs] for seconds in times], axis=0),
                np.mean([percent[:epochs] for percent in values], axis=0),
                **{**line_look(style), "linestyle": dash},
            )
        target = cells[0].counted[0].get("target_accuracy")
        if target is not None:
            # On the side of the line where the curves' ends aren't.
            below = any((cell.accuracy_mean or 0.0) > target for cell in cells)
            axes.axhline(100 * target, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"target {target:.1%}",
                (1, 100 * target),
                xycoords=axes.get_yaxis_transform(),
                xytext=(0, -2 if below else 2),
                textcoords="offset points",
                ha="right",
                va="top" if below else "bottom",
                fontsize=8,
                color=GREY,
            )
        axes.set_xlim(0, None)
        axes.set_xlabel("training time in s")
        axes.set_ylabel("test accuracy in %")
        legend(axes, [*keys(series_of(cells), styles), *worker_keys(group, cells)])
    return figure


def variation(group: Group, styles: Styles) -> Figure | None:
    """Each run's throughput against the mean of its cell; those that don't count are crosses."""
    cells = [cell for cell in group.cells if cell.throughput is not None]
    if not cells:
        return None
    with canvas(height_of(cells)) as (figure, axes):
        places = rows(axes, cells)
        axes.axvline(0, color=GREY, linewidth=1)
        widest = 1.0
        for cell, place in zip(cells, places, strict=True):
            style, middle = styles.of(cell), value_of(cell.throughput)
            for run in cell.runs:
                if run.get("throughput_samples_per_s") is None:
                    continue
                percent = 100 * (run["throughput_samples_per_s"] / middle - 1)
                widest = max(widest, abs(percent))
                counted = run in cell.counted
                # Repeats from top to bottom, in the order in which they ran.
                spread = 0.0 if len(cell.runs) == 1 else 0.5
                y = place - spread / 2 + spread * cell.runs.index(run) / max(len(cell.runs) - 1, 1)
                look: dict[str, Any] = marker_look(style) if counted else {"marker": "x"}
                colour = style.colour if counted else GREY
                axes.plot(percent, y, color=colour, linestyle="", markersize=5, alpha=0.85, **look)
        axes.set_xlim(-1.12 * widest, 1.12 * widest)
        axes.set_xlabel("difference from the mean in %")
        if any(len(cell.counted) < len(cell.runs) for cell in cells):
            legend(axes, [Line2D([], [], color=GREY, marker="x", linestyle="", label="set apart")])
    return figure

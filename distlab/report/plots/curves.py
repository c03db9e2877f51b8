"""Curves: accuracy against time, how far losses differ, and a figure against a swept option."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from distlab.report.figures.cell import Cell
from distlab.report.figures.groups import Group
from distlab.report.figures.runs import course
from distlab.report.plots.style import (
    GREY,
    WIDTH_IN,
    Chart,
    Styles,
    canvas,
    dash_of,
    error_lengths,
    keys,
    legend,
    line_look,
    listed,
    series_of,
    short,
    thousands,
    value_of,
    worker_keys,
)

LEAST_DIFFERENCE = 1e-8
"""A relative difference of losses that is drawn at the lower edge, with all that are smaller."""


def accuracy(group: Group, styles: Styles) -> Chart | None:
    """Test accuracy at each evaluation against training time: each run, and the runs' mean.

    Runs of different numbers of evaluations have no mean, which would end where the first did.
    """
    cells = [cell for cell in group.ranked if cell.accuracy_mean is not None]
    if not cells:
        return None
    with canvas(3.0) as (figure, axes):
        for cell in cells:
            style, dash = styles.of(cell), dash_of(group, cell.world_size)
            courses = [course(run) for run in cell.counted]
            times = [np.asarray(seconds) for seconds, _ in courses]
            values = [100 * np.asarray(shares, dtype=float) for _, shares in courses]
            look = {**line_look(style), "linestyle": dash}
            alike = len({len(seconds) for seconds in times}) == 1
            faint = {"color": style.colour, "alpha": 0.22, "linewidth": 0.8}
            if len(times) > 1:
                for seconds, percent in zip(times, values, strict=True):
                    axes.plot(seconds, percent, **(faint if alike else look))
            if alike:
                axes.plot(np.mean(times, axis=0), np.mean(values, axis=0), **look)
        target = cells[0].counted[0].get("target_accuracy")
        if target is not None:
            # On the left, where curves are lowest, on the side of the line where no end is.
            below = any((cell.accuracy_mean or 0.0) > target for cell in cells)
            axes.axhline(100 * target, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"target {target:.1%}",
                (0, 100 * target),
                xycoords=axes.get_yaxis_transform(),
                xytext=(3, -2 if below else 2),
                textcoords="offset points",
                ha="left",
                va="top" if below else "bottom",
                color=GREY,
            )
        axes.set_xlim(0, None)
        axes.set_xlabel("training time in s")
        axes.set_ylabel("test accuracy in %")
        legend(axes, [*keys(series_of(cells), styles), *worker_keys(group, cells)])
    said = [f"{cell.label}: {_reached(cell)}" for cell in cells]
    goal = "" if target is None else f" (target {target:.1%})"
    return Chart(figure, f"Time to the target accuracy{goal}: {listed(said)}.")


def losses(group: Group, styles: Styles) -> Chart | None:
    """How far each cell's training loss is from the first cell's, a panel a number of workers."""
    panels = [(size, _differences(group, size)) for size in group.world_sizes]
    panels = [(size, found) for size, found in panels if found]
    if not panels:
        return None
    figure = Figure(figsize=(WIDTH_IN, 1.1 + 1.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    said = []
    for axes, (size, found) in zip(grid, panels, strict=True):
        for cell, steps, difference in found:
            colour = styles.of(cell).colour
            drawn = np.maximum(difference, LEAST_DIFFERENCE)
            axes.plot(steps, drawn, color=colour, linewidth=1.3)
            said.append(f"{cell.label}: at most {difference.max():.1e}")
        axes.set_yscale("log")
        axes.set_title(f"{size} worker{'s' * (size > 1)}", color=GREY)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0e}".replace("e-0", "e-")))
        axes.yaxis.set_minor_locator(NullLocator())
    grid[-1].set_xlabel("optimizer step")
    thousands(grid[-1])
    first = next(cell for cell in group.ranked if cell.world_size == panels[0][0])
    figure.supylabel(f"relative difference\nfrom {first.name}", multialignment="center")
    shown = [cell for _, found in panels for cell, _, _ in found]
    legend(grid[0], keys(series_of(shown), styles, marked=False))
    return Chart(figure, f"Relative difference of training losses: {listed(said)}.")


def sweep(option: str, values: Mapping[str, float], cells: Sequence[Cell], styles: Styles) -> Chart:
    """Throughput against a swept option, a line for each framework and number of workers.

    Parameters
    ----------
    option:
        What was swept.
    values:
        Its value by cell.
    cells:
        Cells with a throughput that differ in it, in framework, execution and workers alone.
    styles:
        Of all cells of the study.
    """
    lines: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: values[cell.cell]):
        lines.setdefault((cell.framework, cell.execution, cell.world_size), []).append(cell)
    group = Group("", "", list(cells))
    said = []
    with canvas(3.0) as (figure, axes):
        for members in lines.values():
            style = styles.of(members[0])
            xs = [values[cell.cell] for cell in members]
            ys = [value_of(cell.throughput) for cell in members]
            dash = dash_of(group, members[0].world_size)
            axes.plot(xs, ys, **{**line_look(style), "linestyle": dash})
            for x, cell in zip(xs, members, strict=True):
                if cell.throughput is not None and cell.throughput.low is not None:
                    lengths = error_lengths(cell.throughput)
                    axes.errorbar(x, cell.throughput.value, lengths, color=style.colour, capsize=3)
            points = ", ".join(f"{short(y)} at {x:g}" for x, y in zip(xs, ys, strict=True))
            first = members[0]
            said.append(f"{first.framework} {first.execution}, {first.workers}: {points}")
        ticks = sorted(set(values.values()))
        if ticks[0] > 0:
            axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}")
        )
        axes.set_xlabel(option)
        axes.set_ylabel("samples/s")
        legend(axes, [*keys(series_of(cells), styles), *worker_keys(group, cells)])
    return Chart(figure, f"Samples/s by {option}: {listed(said)}.")


def _reached(cell: Cell) -> str:
    if cell.time_to_accuracy_s is None:
        return "not reached"
    return f"{short(cell.time_to_accuracy_s.value)} s"


def _differences(group: Group, size: int) -> list[tuple[Cell, np.ndarray, np.ndarray]]:
    """Each cell of a size but the first, with the steps and the differences of its losses."""
    cells = [cell for cell in group.ranked if cell.world_size == size]
    found = []
    for cell in cells[1:]:
        pair = _same_repeat(cells[0], cell)
        if pair is not None:
            (steps, first), (_, other) = pair
            found.append((cell, steps, np.abs(other / first - 1)))
    return found


def _same_repeat(
    one: Cell, other: Cell
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None:
    """The loss curves of two cells in the first repeat that counts in both."""
    curves: list[dict[int, tuple[np.ndarray, np.ndarray]]] = []
    for cell in (one, other):
        curves.append({})
        for run in cell.counted:
            curve = run.get("loss_curve") or {}
            if curve.get("step"):
                curves[-1][run["repeat"]] = np.array(curve["step"]), np.array(curve["loss"])
    shared = [repeat for repeat in curves[0] if repeat in curves[1]]
    for repeat in sorted(shared):
        first, second = curves[0][repeat], curves[1][repeat]
        if np.array_equal(first[0], second[0]):  # else each mean is of other steps
            return first, second
    return None

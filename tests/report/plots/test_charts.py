from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from studies import study, where

from distlab.report.figures.cells import Cell, cells
from distlab.report.figures.groups import Group, groups
from distlab.report.plots import charts
from distlab.report.plots.style import KNOWN_COLOURS, Styles


def one_group(**options: Any) -> tuple[Group, Styles, list[Cell]]:
    found = cells(study(**{"models": ["mlp"], "scalings": ["weak"], **options}))
    (group,) = groups(found)
    return group, Styles(found), found


def axes_of(figure: Figure | None) -> Axes:
    assert figure is not None
    return figure.axes[0]


def test_bars_are_medians_from_zero() -> None:
    group, styles, found = one_group()
    axes = axes_of(charts.throughput(group, styles))
    assert axes.get_xlim()[0] == 0
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == [cell.throughput.value for cell in found if cell.throughput]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == 2 * [
        "torch eager",
        "tf graph",
        "paddle eager",
    ]


def test_intervals_are_drawn_where_there_are_any() -> None:
    group, styles, found = one_group()
    axes = axes_of(charts.throughput(group, styles))
    bars = [found for found in axes.containers if isinstance(found, ErrorbarContainer)]
    ends = [tuple(bar.lines[2][0].get_segments()[0][:, 0]) for bar in bars]  # type: ignore[attr-defined]
    assert ends == [
        (pytest.approx(cell.throughput.low), pytest.approx(cell.throughput.high))
        for cell in found
        if cell.throughput
    ]


def test_the_ideal_is_a_speed_up_of_n_on_every_scale() -> None:
    group, styles, _ = one_group(world_sizes=[1, 2, 4], repeats=3)
    axes = axes_of(charts.scaling(group, styles))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    ideal = axes.lines[0]
    assert list(ideal.get_xdata()) == list(ideal.get_ydata()) == [1, 4]  # type: ignore[arg-type]


def test_scaling_lines_are_the_cells_speed_ups() -> None:
    group, styles, found = one_group(world_sizes=[1, 2, 4], repeats=3)
    axes = axes_of(charts.scaling(group, styles))
    (line,) = (
        line
        for line in axes.lines
        if line.get_color() == KNOWN_COLOURS["tf"] and len(line.get_xdata()) == 3  # type: ignore[arg-type]
    )
    told = [cell.speedup.value for cell in found if cell.framework == "tf" and cell.speedup]
    assert list(line.get_ydata()) == told  # type: ignore[arg-type]


def test_losses_are_those_of_the_first_run_that_counts() -> None:
    group, styles, _ = one_group(
        world_sizes=[1], unverified=where(framework="torch", repeat=0), frameworks=["torch"]
    )
    axes = axes_of(charts.losses(group, styles))
    (line,) = axes.lines
    assert list(line.get_ydata()) == group.cells[0].runs[1]["loss_curve"]["loss"]  # type: ignore[arg-type]


def test_accuracy_is_in_percent_over_the_sum_of_windows() -> None:
    group, styles, _ = one_group(world_sizes=[1], frameworks=["torch"], repeats=1)
    (run,) = group.cells[0].runs
    axes = axes_of(charts.accuracy(group, styles))
    curve = axes.lines[0]
    assert list(curve.get_ydata()) == pytest.approx([100 * a for a in run["test_accuracy"]])  # type: ignore[arg-type]
    assert curve.get_xdata()[-1] == pytest.approx(sum(run["epoch_time_s"]))  # type: ignore[index]


def test_a_run_set_apart_is_a_cross_among_the_repeats() -> None:
    group, styles, _ = one_group(
        world_sizes=[1], frameworks=["torch"], noisy=where(framework="torch", repeat=2)
    )
    axes = axes_of(charts.variation(group, styles))
    markers = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None"]
    assert markers == ["o", "o", "x", "o", "o"]

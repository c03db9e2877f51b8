"""One group of a study's cells, and what a chart of it has drawn."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from studies import study

from distlab.report.figures.cell import Cell
from distlab.report.figures.cells import cells
from distlab.report.figures.groups import Group, groups
from distlab.report.plots.style import Chart, Styles


def one_group(**options: Any) -> tuple[Group, Styles, list[Cell]]:
    found = cells(study(**{"models": ["mlp"], "scalings": ["weak"], **options}))
    (group,) = groups(found)
    return group, Styles(found), found


def axes_of(chart: Chart | None) -> Axes:
    assert chart is not None
    return chart.figure.axes[0]


def names(axes: Axes) -> list[str]:
    return [tick.get_text() for tick in axes.get_yticklabels()]


def error_bars(axes: Axes) -> list[tuple[float, float]]:
    bars = [found for found in axes.containers if isinstance(found, ErrorbarContainer)]
    return [tuple(bar.lines[2][0].get_segments()[0][:, 0]) for bar in bars]  # type: ignore[attr-defined]

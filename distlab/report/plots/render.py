"""The report's plots, by matplotlib: SVG for the page, PNG for other uses."""

import contextlib
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from distlab import files
from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import Comparison
from distlab.report.figures.groups import Group
from distlab.report.figures.runs import reasons
from distlab.report.plots import bars, curves, intervals, svg
from distlab.report.plots.heat_map import heat_map
from distlab.report.plots.style import GREY, SETTINGS, Chart, Styles, listed

PNG_DPI = 200
MOST_GROUPS = 8
"""With more groups of comparable cells a study is drawn as a heat map and not group by group."""
ROWS_A_MAP = 60
CHARACTERS = 48
"""Of a line of text across a plot."""
LINE_IN = 0.17
"""Inches that such a line needs."""
FEWEST_SWEPT = 3
"""Values of an option that make a curve."""
NOT_SWEPT = ("execution", "gpus")
"""What lines of a curve may differ in; other plots show it."""


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes
    ----------
    name:
        File name without its ending: ``throughput-mlp-weak-64``.
    kind:
        One of the names in :data:`KINDS`.
    title, description:
        Heading, and in words what is to be read from it.
    svg:
        An ``<svg>`` element whose ids begin with its number, so that many may stand in one page.
    png:
        The same as a PNG file's bytes.
    """

    name: str
    kind: str
    title: str
    description: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class Kind:
    """A kind of plot: its heading, what it shows, and what draws it of a group, if anything."""

    title: str
    caption: str
    plotter: Callable[[Group, Styles, Sequence[Comparison]], Chart | None] | None = None


KINDS: dict[str, Kind] = {
    "map": Kind(
        "All settings",
        "Throughput over the highest mean of its setting, which is a row and a number of workers. "
        "A dot marks who is told to be the fastest there.",
    ),
    "accuracy": Kind(
        "Accuracy against time",
        "Test accuracy after each epoch of training; thin lines are runs, thick ones their mean.",
        lambda group, styles, _: curves.accuracy(group, styles),
    ),
    "ratios": Kind(
        "Ratios of throughput",
        "How many times as fast the first trains as the second; filled where it is told.",
        lambda group, _, comparisons: intervals.ratios(group, comparisons),
    ),
    "throughput": Kind(
        "Throughput",
        "Samples per second of all workers together.",
        lambda group, styles, _: bars.throughput(group, styles),
    ),
    "scaling": Kind(
        "Scaling",
        "How many times the throughput of one worker several reach.",
        lambda group, styles, _: bars.scaling(group, styles),
    ),
    "sweep": Kind("Sweeps", "Throughput against what the study varied."),
    "step": Kind(
        "Where a step's time goes",
        "What the model's arithmetic takes at the rate of large matrix products, what the exchange "
        "of gradients takes, and the rest: memory, small kernels, the framework.",
        lambda group, styles, _: bars.step_time(group, styles),
    ),
    "spread": Kind(
        "Spread",
        "How far epochs are from their run's mean, and runs from their cell's.",
        lambda group, styles, _: intervals.spread(group, styles),
    ),
    "loss": Kind(
        "Do they compute the same?",
        "How far the training loss of each is from the first one's. Equal mathematics differs by "
        "rounding (1e-7) at first, which training makes grow.",
        lambda group, styles, _: curves.losses(group, styles),
    ),
}
"""Each kind of plot, in the order of the report."""


def draw(groups: Sequence[Group], styles: Styles, comparisons: Sequence[Comparison]) -> list[Plot]:
    """Draw every kind of plot of all that has what it shows.

    Parameters
    ----------
    groups:
        Cells that may be compared.
    styles:
        Made of all cells of the study, so that colours agree between groups.
    comparisons:
        Of the whole report.
    """
    plots: list[Plot] = []
    with settings():
        for kind, name, title, chart in _charts(groups, styles, comparisons):
            drawn = svg.element(chart.figure, f"p{len(plots) + 1}")
            png = _png(chart.figure)
            plots.append(Plot(f"{kind}-{name}", kind, title, chart.says, drawn, png))
    return plots


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """The report's settings of matplotlib during the block, whatever a user's own are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def ready() -> None:
    """Draw a figure and throw it away: whether plots can be made is known before a study runs."""
    with settings():
        figure = Figure()
        figure.subplots().set_title("ready")
        svg.element(figure, "ready")
        _png(figure)


def save(plots: Sequence[Plot], folder: Path) -> None:
    """Write each plot as SVG and as PNG into ``folder``, in place of those of an earlier report.

    Raises
    ------
    OSError
        If the folder cannot be written, or is a link.
    """
    if folder.is_symlink():
        raise OSError(f"{folder} is a link, and plots are not written through one")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if _OWN.fullmatch(old.name):
            old.unlink()
    for plot in plots:
        text = f'<?xml version="1.0" encoding="utf-8"?>\n{plot.svg}\n'
        files.write(folder / f"{plot.name}.svg", text)
        files.write(folder / f"{plot.name}.png", plot.png)


_OWN = re.compile(rf"({'|'.join([*KINDS, 'variation'])})-[\w.-]+\.(svg|png)")
"""The names of files that :func:`save` makes, or made."""


def _charts(
    groups: Sequence[Group], styles: Styles, comparisons: Sequence[Comparison]
) -> Iterator[tuple[str, str, str, Chart]]:
    """Kind, name, title and chart of each plot, in the order of :data:`KINDS`."""
    many = len(groups) > MOST_GROUPS
    for kind, how in KINDS.items():
        if kind == "map" and many:
            for begin in range(0, len(groups), ROWS_A_MAP):
                chart = heat_map(groups[begin : begin + ROWS_A_MAP], comparisons)
                if chart is not None:
                    yield kind, str(begin // ROWS_A_MAP + 1), how.title, chart
        elif kind == "sweep":
            for number, (option, values, cells) in enumerate(swept(groups), 1):
                chart = curves.sweep(option, values, cells, styles)
                title = f"{cells[0].model}, {cells[0].scaling} scaling, by {option}"
                yield kind, f"{option.replace('.', '_')}-{number}", title, chart
        elif how.plotter is not None and not many:
            for group in groups:
                chart = how.plotter(group, styles, comparisons)
                if chart is not None:
                    yield kind, group.slug, group.title, _with_left_out(chart, group, kind)


def _with_left_out(chart: Chart, group: Group, kind: str) -> Chart:
    """The chart with a line on the group's cells that are not in it, for they are not ranked."""
    lost = [cell for cell in group.cells if not cell.ranked]
    if kind == "spread":
        lost = [cell for cell in lost if cell.throughput is None]
    if not lost:
        return chart
    named = (f"{cell.label} ({reasons(cell.runs, cell.failed, cell.diverged)})" for cell in lost)
    said = f"Left out, not ranked: {listed(list(named))}."
    lines = textwrap.wrap(said, CHARACTERS)
    chart.figure.set_figheight(chart.figure.get_figheight() + LINE_IN * len(lines))
    chart.figure.supxlabel("\n".join(lines), x=0.01, ha="left", color=GREY)
    return replace(chart, says=f"{chart.says} {said}")


def swept(groups: Sequence[Group]) -> list[tuple[str, dict[str, float], list[Cell]]]:
    """What a study swept: options with three numbers or more, over cells that agree in all others.

    Returns
    -------
    list
        Of each an option, its value by cell, and the cells. They may differ in framework,
        execution and number of workers, too.
    """
    cells = [c for group in groups for c in group.ranked if c.throughput is not None]
    names = dict.fromkeys(name for cell in cells for name in cell.varied)
    found = []
    for option in names:
        if option in NOT_SWEPT or option.startswith("framework."):
            continue
        alike: dict[tuple[object, ...], list[Cell]] = {}
        values = {cell.cell: _number(cell.varied.get(option)) for cell in cells}
        for cell in cells:
            rest = {n: it for n, it in cell.varied.items() if n not in (option, *NOT_SWEPT)}
            equal = cell.model, cell.device, *(item for item in rest.items())
            alike.setdefault(equal, []).append(cell)
        for members in alike.values():
            known = {cell.cell: v for cell in members if (v := values[cell.cell]) is not None}
            if len(set(known.values())) >= FEWEST_SWEPT:
                found.append((option, known, [cell for cell in members if cell.cell in known]))
    return found


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=PNG_DPI)
    return data.getvalue()

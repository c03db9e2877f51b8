"""What all plots share: colours, markers, axes, legends and the printing of figures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from distlab.measure.statistics import Estimate
from distlab.report.figures.cell import Cell
from distlab.report.figures.groups import Group

# Hues after Okabe & Ito (2008), "Color Universal Design", told apart with any kind of colour
# vision. On paper each has at least 3:1 against white (WCAG 2.2, 1.4.11), and their greys differ.
KNOWN_COLOURS = {"torch": "#e06a00", "tf": "#00507f", "paddle": "#00805e"}
OTHER_COLOURS = ("#a6407c", "#8a6d00", "#5b6770", "#3d2f8f")
DARK = {
    "#e06a00": "#ff9a4d",
    "#00507f": "#5cb8ef",
    "#00805e": "#35c79a",
    "#a6407c": "#ea8cc4",
    "#8a6d00": "#d9b43a",
    "#5b6770": "#b4c0c9",
    "#3d2f8f": "#a79bf5",
    "#1b1f24": "#e6e9ec",
    "#57606a": "#a3acb6",
    "#d8dee4": "#343b44",
    "#ffffff": "#14171b",
}
"""What the page shows instead of each colour where it is dark."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1, 2)))
INK, GREY, RULE = "#1b1f24", "#57606a", "#d8dee4"
WIDTH_IN = 4.1

SETTINGS: dict[Any, Any] = {
    # The second is as wide as the first, where a page is read without it.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    # At least 9 pt where three plots stand beside each other on a sheet of A4, across.
    "font.size": 10.4,
    "axes.titlesize": 10.4,
    "figure.labelsize": 10.4,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    # Names are text, also with a dollar in them.
    "text.parse_math": False,
    # The grid's lines lead to their figures.
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 10.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Text that can be searched and read aloud.
    "svg.fonttype": "none",
    "svg.hashsalt": "distlab",
}


@dataclass(frozen=True)
class Chart:
    """A figure, and in words what is to be read from it."""

    figure: Figure
    says: str


@dataclass(frozen=True)
class Style:
    """How a framework's execution is drawn, in every plot of a study."""

    colour: str
    marker: str
    filled: bool


class Styles:
    """A colour and a marker for each framework; a second execution of one has hollow markers.

    Where an option tells cells of one framework apart that stand in one plot, each of its values
    has a marker of its own.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        others = iter(OTHER_COLOURS * len(cells))
        self._first: dict[str, str] = {}
        self._values: dict[str, list[dict[str, str]]] = {}
        for cell in cells:
            self._first.setdefault(cell.framework, cell.execution)
            values = self._values.setdefault(cell.framework, [])
            values += [] if cell.apart in values else [cell.apart]
        self._colours = {name: KNOWN_COLOURS.get(name) or next(others) for name in self._first}

    def of(self, cell: Cell) -> Style:
        """The style of a cell."""
        place = list(self._first).index(cell.framework)
        place += len(self._first) * self._values[cell.framework].index(cell.apart)
        return Style(
            self._colours[cell.framework],
            MARKERS[place % len(MARKERS)],
            self._first[cell.framework] == cell.execution,
        )


@contextmanager
def canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure as wide as a phone's page, ``height`` inches high, and its axes."""
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    yield figure, figure.add_subplot()


def rows(
    axes: Axes, cells: Sequence[Cell], names: Sequence[str] | None = None, height: float = 1.0
) -> list[float]:
    """Give each cell a row, from the top, below a heading for each number of workers.

    ``names`` are what the rows are called, if it is not the cells' own names.
    """
    places: list[float] = []
    place = 0.0
    for before, cell in zip([None, *cells], cells, strict=False):
        opens = before is None or before.world_size != cell.world_size
        place += height
        if opens:
            axes.text(
                0.012,
                place,
                cell.workers,
                transform=axes.get_yaxis_transform(),
                va="center",
                fontweight="bold",
                color=GREY,
                # No line goes through it.
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0},
            )
            place += 0.85
        places.append(place)
    axes.set_yticks(places, names or [name_of(cell) for cell in cells])
    axes.set_ylim(places[-1] + 0.6 * height, height - 0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    return places


def name_of(cell: Cell) -> str:
    """What a row or line of a cell is called, where the number of workers is said elsewhere."""
    return "\n".join([f"{cell.framework} {cell.execution}", *cell.differences])


def height_of(cells: Sequence[Cell]) -> float:
    """Inches that the rows of these cells need."""
    return 0.75 + 0.3 * (len(cells) + len({cell.world_size for cell in cells}))


def listed(said: Sequence[str], most: int = 12) -> str:
    """Parts of a sentence, of which no more than a reader can bear."""
    more = f"; and {len(said) - most} more" if len(said) > most else ""
    return "; ".join(said[:most]) + more


def series_of(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells that differ in their number of workers alone, by rising number."""
    series: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.world_size):
        series.setdefault(cell.own, []).append(cell)
    return list(series.values())


def marker_look(style: Style) -> dict[str, Any]:
    """A marker as arguments of matplotlib."""
    return {
        "marker": style.marker,
        "markerfacecolor": style.colour if style.filled else "white",
        "markeredgecolor": style.colour,
    }


def line_look(style: Style) -> dict[str, Any]:
    """A line with markers as arguments of matplotlib."""
    return {"color": style.colour, "linewidth": 1.6, "markersize": 5, **marker_look(style)}


def dash_of(group: Group, world_size: int) -> Any:
    """How a line of this number of workers is dashed."""
    return DASHES[group.world_sizes.index(world_size) % len(DASHES)]


def keys(series: Sequence[list[Cell]], styles: Styles, marked: bool = True) -> list[Line2D]:
    """Legend of the frameworks."""
    found = []
    for members in series:
        line = line_look(styles.of(members[0]))
        label = name_of(members[0])
        if not marked:
            line = {"color": line["color"], "linewidth": 3}
        found.append(Line2D([], [], label=label, **line))
    return found


def worker_keys(group: Group, cells: Sequence[Cell]) -> list[Line2D]:
    """Legend of the numbers of workers, where there are several."""
    sizes = sorted({cell.world_size for cell in cells})
    if len(sizes) == 1:
        return []
    return [
        Line2D(
            [],
            [],
            color=INK,
            linewidth=1.3,
            linestyle=dash_of(group, size),
            label=f"{size} worker{'s' * (size > 1)}",
        )
        for size in sizes
    ]


def legend(axes: Axes, lines: Sequence[Line2D | Patch]) -> None:
    """A legend above the axes, where it hides nothing."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    # In points: the handle and the gaps of a column, and its longest label.
    wide = 42 + 5.9 * max(len(str(line.get_label())) for line in lines)
    figure.legend(
        handles=list(lines),
        loc="outside upper left",
        ncols=max(1, min(len(lines), int(72 * WIDTH_IN // wide))),
        handlelength=2.2,
        columnspacing=1.2,
        borderaxespad=0.0,
    )


def value_of(estimate: Estimate | None) -> float:
    """The estimate's value, where it is known that there is one."""
    assert estimate is not None
    return estimate.value


def upper(estimate: Estimate | None) -> float:
    """The greatest value that is drawn of an estimate."""
    assert estimate is not None
    return estimate.value if estimate.high is None else max(estimate.value, estimate.high)


def error_lengths(estimate: Estimate) -> list[list[float]]:
    """Lengths of the two halves of the interval, as matplotlib takes them."""
    assert estimate.low is not None and estimate.high is not None
    return [
        [max(0.0, estimate.value - estimate.low)],
        [max(0.0, estimate.high - estimate.value)],
    ]


def short(value: float) -> str:
    """Three significant digits, thousands as ``k`` and millions as ``M``."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:#.3g}".rstrip(".") + unit
    return f"{value:#.3g}".rstrip(".")


def milliseconds(value: float) -> str:
    """Three significant digits, or all before the point: ``k`` is no part of a unit of time."""
    return short(value) if value < 1e3 else f"{value:,.0f}"


def thousands(axes: Axes) -> None:
    """Few labels on the axis across, thousands as ``k``."""
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1000:g} k" if value >= 1000 else f"{value:g}")
    )

"""A large study at a glance: a row for each condition, a column for each framework and size."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import Comparison
from distlab.report.figures.groups import Group
from distlab.report.plots.style import GREY, INK, WIDTH_IN, Chart

MOST_COLUMNS = 9
"""With more frameworks times numbers of workers each number of workers has rows of its own."""
MOST_FIGURES = 12
"""With more columns squares have no figures."""
# From half of the highest mean, or less, to all of it; the same on a dark page.
SHADES = ("#eff3f7", "#dbe4ee", "#c3d2e2", "#a6bcd3", "#86a4c1", "#5f86ab", "#336792", "#0b4a78")
ON_LIGHT, ON_DEEP = "#14181c", "#fdfdfd"
DEEP_FROM = 6
"""The first shade on which light text has 4.5:1."""

Column = tuple[int, str]
"""Number of workers (0 where rows have it) and name."""


def heat_map(groups: Sequence[Group], comparisons: Sequence[Comparison]) -> Chart | None:
    """Throughput of every ranked cell over the highest mean of its setting.

    Parameters
    ----------
    groups:
        The groups whose cells are shown; a setting is a group and a number of workers.
    comparisons:
        Of the whole report: who is told to be the fastest of a setting has a dot.
    """
    settings = [
        (group, size, cells)
        for group in groups
        for size in group.world_sizes
        if (cells := [c for c in group.ranked if c.world_size == size and c.throughput])
    ]
    names = dict.fromkeys(cell.own for _, _, cells in settings for cell in cells)
    sizes = sorted({size for _, size, _ in settings})
    if len(names) < 2:
        return None
    beside = len(names) * len(sizes) <= MOST_COLUMNS
    columns = [(size, name) for size in (sizes if beside else [0]) for name in names]

    def row_of(group: Group, cell: Cell) -> str:
        return group.title if beside else f"{group.title}, {cell.workers}"

    def column_of(cell: Cell) -> Column:
        return cell.world_size if beside else 0, cell.own

    rows = list(dict.fromkeys(row_of(group, cells[0]) for group, _, cells in settings))
    lost = [
        (columns.index(column), rows.index(row))
        for group in groups
        for cell in group.cells
        if not cell.ranked
        if (row := row_of(group, cell)) in rows and (column := column_of(cell)) in columns
    ]
    beaten = {(pair.faster.cell, pair.slower.cell) for pair in comparisons if pair.told}
    figure = Figure(figsize=(2 * WIDTH_IN, 1.0 + 0.23 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    first: list[str | None] = []
    for group, _, cells in settings:
        best = max(_rate(cell) for cell in cells)
        told = [c for c in cells if _is_told(c, cells, beaten)]
        first += [told[0].own if told else None] * (len(cells) > 1)
        for cell in cells:
            place = columns.index(column_of(cell)), rows.index(row_of(group, cell))
            figures = len(columns) <= MOST_FIGURES
            _square(axes, place, _rate(cell) / best, dotted=cell in told, figures=figures)
    for at in lost:
        axes.text(*at, "not ranked", ha="center", va="center", color=GREY)
    _dress(axes, rows, columns)
    said = [
        f"{name} is told to be the fastest in {first.count(name)}"
        for name in names
        if name in first
    ]
    said += [f"in {first.count(None)} none is"] * (None in first)
    return Chart(figure, f"Of {len(first)} settings {', '.join(said)}.")


def _square(
    axes: Axes, place: tuple[int, int], share: float, *, dotted: bool, figures: bool
) -> None:
    shade = max(0, round((len(SHADES) - 1) * (2 * share - 1)))
    corner = place[0] - 0.48, place[1] - 0.44
    axes.add_patch(Rectangle(corner, 0.96, 0.88, facecolor=SHADES[shade], edgecolor="none"))
    axes.text(
        *place,
        " ".join(["●"] * dotted + [f"{share:.2f}"] * figures),
        ha="center",
        va="center",
        color=ON_DEEP if shade >= DEEP_FROM else ON_LIGHT,
        fontweight="bold" if dotted else "normal",
    )


def _dress(axes: Axes, rows: Sequence[str], columns: Sequence[Column]) -> None:
    """Names of rows and columns, and nothing else."""
    axes.grid(False)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if len(columns) <= MOST_FIGURES:
        axes.set_xticks(range(len(columns)), [name.replace(" ", "\n", 1) for _, name in columns])
    else:
        axes.set_xticks(range(len(columns)), [name for _, name in columns], rotation=90)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), rows)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for size in dict.fromkeys(size for size, _ in columns if size):
        begin = next(place for place, column in enumerate(columns) if column[0] == size)
        axes.annotate(
            f"{size} worker{'s' * (size > 1)}",
            (begin - 0.45, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 30),
            textcoords="offset points",
            fontweight="bold",
            color=GREY,
        )
        if begin:
            axes.axvline(begin - 0.5, color=INK, linewidth=0.8)


def _is_told(cell: Cell, cells: Sequence[Cell], beaten: set[tuple[str, str]]) -> bool:
    others = [other for other in cells if other is not cell]
    return bool(others) and all((cell.cell, other.cell) in beaten for other in others)


def _rate(cell: Cell) -> float:
    return cell.throughput.value if cell.throughput is not None else 0.0

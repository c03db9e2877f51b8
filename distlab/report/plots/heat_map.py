"""A large study at a glance: each setting a row, each framework a column."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from distlab.report.figures.cells import Cell
from distlab.report.figures.groups import Group
from distlab.report.plots.style import WIDTH_IN, Chart

LIGHT, DEEP = "#ffffff", "#1b1f24"


def heat_map(groups: Sequence[Group]) -> Chart | None:
    """Throughput of every ranked cell over that of the quickest of its setting.

    Parameters
    ----------
    groups:
        The groups whose settings (numbers of workers) become rows.
    """
    found: list[tuple[str, dict[str, Cell]]] = []
    for group in groups:
        for size in group.world_sizes:
            cells = [c for c in group.ranked if c.world_size == size and c.throughput is not None]
            if cells:
                title = f"{group.title}, {cells[0].workers}"
                found.append((title, {cell.name: cell for cell in cells}))
    columns = list(dict.fromkeys(name for _, cells in found for name in cells))
    if not found or len(columns) < 2:
        return None
    shares = np.full((len(found), len(columns)), np.nan)
    for row, (_, ranked) in enumerate(found):
        best = max(_rate(cell) for cell in ranked.values())
        for name, cell in ranked.items():
            shares[row, columns.index(name)] = _rate(cell) / best
    figure = Figure(figsize=(2 * WIDTH_IN, 0.9 + 0.2 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(False)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.6, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        known = not np.isnan(share)
        axes.text(
            column,
            row,
            f"{share:.2f}" if known else "not ranked",
            ha="center",
            va="center",
            fontsize=7.5,
            color=LIGHT if known and share > 0.85 else DEEP,
            fontweight="bold" if share == 1 else "normal",
        )
    axes.set_xticks(range(len(columns)), columns)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(found)), [title for title, _ in found], fontsize=7.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    first = [columns[int(np.nanargmax(row))] for row in shares]
    said = [f"{name} has the highest mean in {first.count(name)}" for name in dict.fromkeys(first)]
    return Chart(figure, f"Of {len(found)} settings {', '.join(said)}; not all of that is told.")


def _rate(cell: Cell) -> float:
    return cell.throughput.value if cell.throughput is not None else 0.0

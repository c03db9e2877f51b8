"""Groups of cells that may be compared: what one table and one plot hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distlab.files import slug
from distlab.report.figures.cell import Cell


@dataclass(frozen=True)
class Group:
    """Cells that may be compared: everything is equal but framework, execution and world size.

    Attributes
    ----------
    title:
        For people: ``mlp, weak scaling, batch 64 a worker``; other precisions than fp32 are named,
        and what else the study varies: ``learning_rate=0.01``.
    slug:
        For file names: ``mlp-weak-64``, ``mlp-weak-64-bf16``, ``mlp-weak-64-seed_1``.
    """

    title: str
    slug: str
    cells: list[Cell]

    @property
    def ranked(self) -> list[Cell]:
        """Those of the cells that claims are made of."""
        return [cell for cell in self.cells if cell.ranked]

    @property
    def world_sizes(self) -> list[int]:
        """The ranked cells' numbers of workers."""
        return sorted({cell.world_size for cell in self.ranked})


def groups(cells: Sequence[Cell]) -> list[Group]:
    """Gather comparable cells, in the order of :func:`distlab.report.figures.cells.cells`."""
    gathered: list[list[Cell]] = []
    for cell in cells:
        if gathered and _comparable(gathered[-1], cell):
            gathered[-1].append(cell)
        else:
            gathered.append([cell])
    titles = _told_apart([_title(group) for group in gathered], gathered)
    slugs = [slug_of(group[0]) for group in gathered]
    unique = [
        slug if slugs.count(slug) == 1 else f"{slug}-{slugs[:place].count(slug) + 1}"
        for place, slug in enumerate(slugs)
    ]
    return [
        Group(title, slug, group)
        for title, slug, group in zip(titles, unique, gathered, strict=True)
    ]


def slug_of(cell: Cell) -> str:
    """What a group has in common, for names: ``mlp-weak-64``, ``mlp-weak-64-seed_1``."""
    parts = cell.model, cell.scaling, cell.batch_size, cell.rounded[2:], cell.conditions
    return "-".join(filter(None, (slug(str(part)) for part in parts)))


def _comparable(group: Sequence[Cell], cell: Cell) -> bool:
    names = ("model", "scaling", "batch_size", "precision", "device")
    alike = all(getattr(group[-1], name) == getattr(cell, name) for name in names)
    keys = {c.comparison_key for c in group if c.comparison_key is not None}
    if cell.comparison_key is None:
        shared = {n: it for n, it in group[-1].varied.items() if n not in group[-1].apart}
        alike = alike and shared.items() <= cell.varied.items()
    return alike and (cell.comparison_key is None or not keys or cell.comparison_key in keys)


def _title(group: Sequence[Cell]) -> str:
    first = group[0]
    each = "a worker" if first.scaling == "weak" else "over all workers"
    work = f"{first.model}, {first.scaling} scaling, batch {first.batch_size} {each}"
    return ", ".join(filter(None, (f"{work}{first.rounded}", first.conditions)))


def _told_apart(titles: list[str], gathered: Sequence[Sequence[Cell]]) -> list[str]:
    """Add to equal titles what else differs between their groups."""
    further: tuple[Callable[[Cell], str | None], ...] = (
        lambda c: c.device.upper(),
        lambda c: c.device_name,
        lambda c: f"key {c.comparison_key}",
    )
    for show in further:
        extra = [str(show(group[0])) for group in gathered]
        titles = [
            f"{title}, {more}"
            if len({e for t, e in zip(titles, extra, strict=True) if t == title}) > 1
            else title
            for title, more in zip(titles, extra, strict=True)
        ]
    return titles

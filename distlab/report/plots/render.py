"""The report's plots, by matplotlib: SVG for the page, PNG for other uses."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from distlab.report.figures.groups import Group
from distlab.report.plots import charts
from distlab.report.plots.style import SETTINGS, Styles

PNG_DPI = 200


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
        Heading, and what is to be seen, for who can't see it.
    svg:
        An ``<svg>`` element whose ids begin with ``name``, so that many may stand in one page.
    png:
        The same as a PNG file's bytes.
    """

    name: str
    kind: str
    title: str
    description: str
    svg: str
    png: bytes


def draw(groups: Sequence[Group], styles: Styles) -> list[Plot]:
    """Draw every kind of plot for every group that has what it shows.

    Parameters
    ----------
    groups:
        Cells that may be compared.
    styles:
        Made of all cells of the study, so that colours agree between groups.
    """
    plots = []
    for kind, (title, description, plotter) in KINDS.items():
        for group in groups:
            with mpl.rc_context(SETTINGS):
                figure = plotter(group, styles)
                if figure is None:
                    continue
                name = f"{kind}-{group.slug}"
                plots.append(
                    Plot(
                        name,
                        kind,
                        group.title,
                        f"{title}: {group.title}. {description}",
                        _svg(figure, name),
                        _png(figure),
                    )
                )
    return plots


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
        svg = f'<?xml version="1.0" encoding="utf-8"?>\n{plot.svg}\n'
        (folder / f"{plot.name}.svg").write_bytes(svg.encode())
        (folder / f"{plot.name}.png").write_bytes(plot.png)


KINDS: dict[str, tuple[str, str, Callable[[Group, Styles], Figure | None]]] = {
    "throughput": (
        "Throughput",
        "A bar from zero for each framework and number of workers, with its 95 % interval.",
        charts.throughput,
    ),
    "scaling": (
        "Scaling",
        "Speed-up over one worker by number of workers; the dashed line is the ideal.",
        charts.scaling,
    ),
    "loss": (
        "Training loss",
        "One run of each cell; equal mathematics gives curves that lie over each other.",
        charts.losses,
    ),
    "accuracy": (
        "Accuracy against time",
        "Test accuracy after each epoch; thin lines are runs, thick ones their mean.",
        charts.accuracy,
    ),
    "variation": (
        "Variation over repeats",
        "Each run against the mean of its cell; repeats from top to bottom.",
        charts.variation,
    ),
}
"""Title, description and function of each kind of plot, in the order of the report."""


_OWN = re.compile(rf"({'|'.join(KINDS)})-[\w.-]+\.(svg|png)")
"""The names of files that :func:`save` makes."""


def _svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element that fills its place and shares no id with another."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return svg.replace("url(#", f"url(#{name}-")


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=PNG_DPI)
    return data.getvalue()

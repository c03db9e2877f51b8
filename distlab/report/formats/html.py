"""The report as one self-contained HTML page, by jinja2; it needs no network and no JavaScript."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from distlab import __version__
from distlab.report.figures.cells import Cell
from distlab.report.plots.render import Plot
from distlab.report.plots.style import Styles
from distlab.report.sections.contents import Contents


def page(contents: Contents, cells: Sequence[Cell], styles: Styles) -> str:
    """Set the report as HTML; all text is escaped.

    Parameters
    ----------
    contents:
        The report.
    cells, styles:
        The cells, and the colours that their frameworks have in the plots.
    """
    environment = Environment(
        loader=PackageLoader("distlab", "report/formats"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colours = {name: styles.of(cell).colour for cell in cells for name in (cell.name, cell.label)}
    template = environment.get_template("page.html.jinja")
    return template.render(contents=contents, colours=colours, inline=_inline, version=__version__)


def _inline(plot: Plot) -> Markup:
    """The plot's own SVG as it is, with what is to be seen as its name for screen readers."""
    label = Markup('<svg role="img" aria-label="{}" ').format(plot.description)
    return label + Markup(plot.svg.removeprefix("<svg "))

"""The report as one self-contained HTML page, by jinja2, which needs no network.

Its one script is a calculator beside a table that tells the same without.
"""

import gzip
import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from distlab import __version__
from distlab.report.contents import Contents
from distlab.report.figures.cell import Cell
from distlab.report.plots.render import Plot
from distlab.report.plots.style import DARK, Styles
from distlab.report.sections.what_if.job_time import JobTime

CALCULATOR = Path(__file__).with_name("calculator.js").read_text(encoding="utf-8")
"""The page's only script: seconds of a job by its epochs and samples, which tables tell without."""
LONG = 4_000
"""Bytes from which on a file is compressed into the page."""


def page(contents: Contents, cells: Sequence[Cell], styles: Styles, data: Mapping[str, str]) -> str:
    """Set the report as HTML; all text is escaped.

    Parameters
    ----------
    contents:
        The report.
    cells, styles:
        The cells, and the colours that their frameworks have in the plots.
    data:
        Files for other programs, by name: the page holds them, to be saved from it.
    """
    environment = Environment(
        loader=PackageLoader("distlab", "report/formats"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = {name: styles.of(cell).colour for cell in cells for name in (cell.name, cell.label)}
    palette = list(dict.fromkeys(own.values()))
    template = environment.get_template("page.html.jinja")
    return template.render(
        contents=contents,
        colours={name: palette.index(colour) for name, colour in own.items()},
        palette=[_variable(colour) for colour in palette],
        dark=DARK,
        inline=_inline,
        version=__version__,
        downloads=[_download(name, text) for name, text in data.items()],
        jobs=Markup(json.dumps([_figures(job) for job in contents.jobs])),
        calculator=Markup(CALCULATOR),
        calculator_hash=f"sha256-{b64encode(sha256(CALCULATOR.encode()).digest()).decode()}",
    )


def _inline(plot: Plot) -> Markup:
    """The plot's own SVG in the page's colours, with what it says as its name for screen readers.

    Within a style each colour that has another one in dark mode is a variable of the page.
    """
    label = Markup('<svg role="img" aria-label="{}" ').format(plot.description)
    coloured = re.sub(
        r"(?<=:)(#[0-9a-f]{6})(?=[;\"}])",
        lambda found: _variable(found[1]) if found[1] in DARK else found[1],
        plot.svg.removeprefix("<svg "),
    )
    return label + Markup(coloured)


def _figures(job: JobTime) -> list[float]:
    """What the page's calculator reads of a job, in the order of its fields."""
    return [float(f"{value:.6g}") for value in astuple(job)]


def _variable(colour: str) -> str:
    """A colour as a variable of the page, which is another one in dark mode."""
    return f"var(--c{colour[1:]}, {colour})"


def _download(name: str, text: str) -> tuple[str, str, str]:
    """A file's name, its content as an address, and its size; compressed where it is long."""
    content = text.encode()
    if len(content) > LONG:
        name, content = f"{name}.gz", gzip.compress(content, mtime=0)
    address = f"data:application/octet-stream;base64,{b64encode(content).decode()}"
    return name, address, f"{math.ceil(len(content) / 1000)} kB"

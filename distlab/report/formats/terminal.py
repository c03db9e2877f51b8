"""The main part of a study's report on the terminal."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from distlab.report.contents import FILES, Contents, contents
from distlab.report.figures.cells import cells
from distlab.report.formats import markdown
from distlab.report.sections.tables import Table

COLUMNS = ("framework", "workers", "samples/s", "speed-up", "test accuracy", "verified")
"""Those that are shown, besides the time to the target accuracy."""
TARGET = ("s to ", "time to accuracy")
"""How the name of that one begins."""
DROPPED_FIRST = ("test accuracy", *TARGET)
"""What a terminal without room for it leaves out, in this order."""
BRIEF = ("framework", "workers")
"""Columns whose details only the page has."""
MOST_TABLES = 4
"""Of more the page has all and the terminal says how many."""
MOST_SENTENCES = 8


def show(study: dict[str, Any], page: Path, console: Console) -> None:
    """Print the verdict, the main tables, what was told and what not, what to do next, and where.

    Where the output is no terminal, tables are those of Markdown, on lines as long as they need.
    """
    report = contents(study, cells(study), [])
    console.print(Text(report.title, style="bold"))
    _say(console, report.headline, *([report.scope] if report.scope else []))
    for table in report.main[:MOST_TABLES]:
        console.print()
        console.print(Text(table.title, style="bold"))
        if console.is_terminal:
            console.print(_fitting(table, console))
        else:
            kept = [name for name in table.columns if _is(name, (*COLUMNS, *TARGET))]
            _say(console, markdown.table(table, kept))
    more = len(report.main) - MOST_TABLES
    if more > 0:
        console.print()
        _say(console, f"{more} more table{'s' * (more > 1)} of settings: in the report.")
    if any(table.rows for table in report.apart):
        _say(console, "Some runs are set apart and not ranked; the report says which and why.")
    for heading, sentences in (("", _told(report)), ("Not told:", report.untold)):
        if sentences:
            console.print()
            _say(console, *([heading] if heading else []), *(f"- {one}" for one in _few(sentences)))
    if report.next_step is not None:
        console.print()
        _say(console, f"Next: {report.next_step.words}")
        if report.next_step.command is not None:
            # On a line of its own, however long, to be copied whole.
            console.print(report.next_step.command, markup=False, soft_wrap=True)
    console.print()
    console.print(f"wrote {page}", markup=False, soft_wrap=True)
    _say(console, f"beside it {', '.join(FILES)}")


def tabled(table: Table, console: Console) -> None:
    """Print a table; where the output is no terminal, as Markdown."""
    if console.is_terminal:
        console.print(_table(table, list(range(len(table.columns)))))
    else:
        _say(console, markdown.table(table))


def _told(report: Contents) -> list[str]:
    """What is said of pairs, and of compilation; nothing where no pair has an interval."""
    compilation = report.compilation.sentences[:-1] if report.compilation else []
    return [*(report.sentences if report.note else []), *compilation]


def _few(sentences: list[str]) -> list[str]:
    rest = len(sentences) - MOST_SENTENCES
    return [*sentences[:MOST_SENTENCES], *([f"And {rest} more: in the report."] * (rest > 0))]


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=not console.is_terminal)


def _is(name: str, names: tuple[str, ...]) -> bool:
    """Whether a column is one of these, a name that depends on the target by its beginning."""
    return name in names or any(name.startswith(one) for one in names if one in TARGET)


def _fitting(table: Table, console: Console) -> RichTable:
    """The table with as many columns as there is room for."""
    kept = [place for place, name in enumerate(table.columns) if _is(name, (*COLUMNS, *TARGET))]
    unbounded = console.options.update(width=10_000)
    for dropped in DROPPED_FIRST:
        if Measurement.get(console, unbounded, _table(table, kept)).maximum <= console.width:
            break
        kept = [place for place in kept if not _is(table.columns[place], (dropped,))]
    return _table(table, kept)


def _table(table: Table, kept: list[int]) -> RichTable:
    shown = RichTable(
        header_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place in kept:
        name = table.columns[place]
        justify = "left" if name in table.wordy else "right"
        shown.add_column(name, no_wrap=True, justify=justify)  # type: ignore[arg-type]
    for number, row in enumerate(table.rows):
        best = number in table.best
        fields = []
        for place in kept:
            value, name = row[place], table.columns[place]
            detail = "" if name in BRIEF else value.detail
            detail = "fastest" if best and name == "framework" else detail
            fields.append(Text.assemble(value.text, (f"\n{detail}" if detail else "", "dim")))
        if number in table.opens:
            shown.add_section()
        shown.add_row(*fields, style="bold" if best else None)
    return shown

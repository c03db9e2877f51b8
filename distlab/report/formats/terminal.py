"""The main part of a study's report on the terminal."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.formats import markdown
from distlab.report.sections.tables import Table

COLUMNS = ("framework", "workers", "samples/s", "speed-up", "verified")
WIDE_COLUMNS = (*COLUMNS, "test accuracy")
WIDE = 100
"""Columns of a terminal that has room for more."""
UNWRAPPED = ("framework", "workers", "samples/s", "verified")


def show(study: dict[str, Any], page: Path, console: Console) -> None:
    """Print the verdict, the main tables, the sentences of the comparisons, and the paths written.

    Where the output is no terminal, tables are those of Markdown, on lines as long as they need.
    """
    report = contents(study, cells(study), [])
    plain = not console.is_terminal
    console.print(Text(report.title, style="bold"))
    _say(console, report.headline, *([report.scope] if report.scope else []))
    for table in report.main:
        console.print()
        console.print(Text(table.title, style="bold"))
        if plain:
            _say(console, markdown.table(table, WIDE_COLUMNS))
        else:
            console.print(_table(table, WIDE_COLUMNS if console.width >= WIDE else COLUMNS))
    apart = sum(len(table.rows) for table in report.apart)
    if apart:
        _say(console, "Some runs are set apart and not ranked; the report says which and why.")
    compilation = report.compilation.sentences[:-1] if report.compilation else []
    sentences = [*report.sentences, *([report.note] if report.note else [])]
    said = (("", sentences), ("", compilation), ("Not told:", report.untold))
    for heading, sentences in said:
        if sentences:
            console.print()
            _say(console, *([heading] if heading else []), *sentences)
    if report.next_step is not None:
        console.print()
        _say(console, report.next_step.words)
        if report.next_step.command is not None:
            # On a line of its own, however long, to be copied whole.
            console.print(report.next_step.command, markup=False, soft_wrap=True)
    console.print()
    for name in ("report.html", "report.md", "cells.csv", "runs.csv", "report.json", "plots"):
        _say(console, f"wrote {page.parent / name}{'/' if name == 'plots' else ''}")


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=not console.is_terminal)


def _table(table: Table, columns: tuple[str, ...]) -> RichTable:
    kept = [place for place, name in enumerate(table.columns) if name in columns]
    shown = RichTable(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place in kept:
        name = table.columns[place]
        if name in table.wordy:
            shown.add_column(name, no_wrap=True)
        else:
            shown.add_column(name, no_wrap=name in UNWRAPPED, justify="right")
    for number, row in enumerate(table.rows):
        fields = []
        for place in kept:
            value = row[place]
            brief = table.columns[place] == "framework"
            detail = "" if brief or not value.detail else f"\n{value.detail}"
            fields.append(Text.assemble(value.text, (detail, "dim")))
        shown.add_row(*fields, style="bold" if number in table.best else None)
    return shown

"""Writes a study's report into a folder: page, Markdown, tables for programs, plots."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distlab.files import write as write_file
from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.figures.groups import groups
from distlab.report.formats import html, markdown
from distlab.report.formats.rows import (
    as_csv,
    break_even_rows,
    cell_rows,
    overtaking_rows,
    prediction_rows,
    run_rows,
)
from distlab.report.plots import render
from distlab.report.plots.style import Styles


def write(study: dict[str, Any], folder: Path) -> Path:
    """Write the report of a study; a report that stood there is replaced, other files are kept.

    Written are ``report.html`` (one self-contained page), ``report.md``, ``cells.csv``,
    ``runs.csv``, ``report.json`` (the rows of both, the study's conditions, and the sentences) and
    ``plots/`` (SVG and PNG).

    Parameters
    ----------
    study:
        The study as data, as in ``study.json``.
    folder:
        Made if it is missing.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    OSError
        If the folder cannot be written, or its ``plots`` is a link, which might lead anywhere.
    """
    found = cells(study)
    styles = Styles(found)
    comparisons = compare(found, study.get("looks", 1))
    drawn = render.draw(groups(found), styles, comparisons)
    report = contents(study, found, drawn)
    render.save(drawn, folder / "plots")
    data = {
        **{
            key: value for key, value in study.items() if key not in ("runs", "failed", "baselines")
        },
        "verdict": {
            "headline": report.headline,
            "scope": report.scope,
            "groups": dict(report.verdict),
            "not_told": report.untold,
            "next_step": None if report.next_step is None else asdict(report.next_step),
        },
        "comparisons": report.sentences,
        "note": report.note,
        "compilation": break_even_rows(comparisons),
        "overtakings": overtaking_rows(comparisons),
        "predictions": prediction_rows(found),
        "cells": cell_rows(found),
        "runs": run_rows(study),
    }
    tables = {
        "report.json": json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "cells.csv": as_csv(cell_rows(found)),
        "runs.csv": as_csv(run_rows(study)),
        **({"requirements.txt": report.requirements} if report.requirements else {}),
    }
    for name, text in tables.items():
        write_file(folder / name, text)
    write_file(folder / "report.md", markdown.document(report))
    path = folder / "report.html"
    # The page has each figure once: its single runs are in the table.
    brief = json.dumps({**data, "runs": "in runs.csv"}, ensure_ascii=False, allow_nan=False)
    held = {**tables, "report.json": f"{brief}\n"}
    write_file(path, html.page(report, found, styles, held))
    return path

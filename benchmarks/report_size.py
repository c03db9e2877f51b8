"""What a report costs: seconds and bytes of the page, for studies of 6 to 600 cells.

``python benchmarks/report_size.py`` makes studies with seeded noise, writes the report of each in a
temporary folder, and prints the CPU time of it and the size of ``report.html``: altogether, for
each cell, and as ratios to the study of 60 cells. Of 600 cells there are two: 200 settings of three
cells, and 20 of thirty, in which 8,700 pairs are compared. Run it on an idle machine.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import CONSOLE, busy_cores, conclude, write
from rich.table import Table

from distlab.report.figures.cells import cells
from distlab.report.formats import files

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from studies import study, together, with_variants

REACH_BYTES = {6: 150_000, 600: 3_000_000}
REACH_S = {600: 20.0}


def of_batches(batches: int, **options: Any) -> dict[str, Any]:
    """A study of so many batch sizes; each has cells of its own."""
    parts = [
        study(batch_size=8 * number, random_seed=number, **options)
        for number in range(1, batches + 1)
    ]
    return together(*parts)


STUDIES: dict[str, Callable[[], dict[str, Any]]] = {
    "2 settings of 3, 5 repeats": lambda: of_batches(1, models=["mlp"], scalings=["weak"]),
    "20 settings of 3, 5 repeats": lambda: of_batches(5, scalings=["weak"]),
    "200 settings of 3, 10 repeats": lambda: of_batches(25, repeats=10),
    "20 settings of 30, 10 repeats": lambda: with_variants(
        of_batches(20, models=["mlp"], scalings=["weak"], world_sizes=[1], repeats=10), 10
    ),
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks/report_size.json"))
    options = parser.parse_args()
    busy, results = [], []
    for name, make in STUDIES.items():
        told = make()
        busy.append(busy_cores())
        measured = [once(told) for _ in range(options.repeats)]
        results.append(
            {
                "study": name,
                "cells": len(cells(told)),
                "seconds": statistics.median(seconds for seconds, _ in measured),
                "seconds_of_each": [seconds for seconds, _ in measured],
                "bytes": measured[0][1],
            }
        )
        write(options.output, "report_size", results, busy)
    CONSOLE.print(table(results))
    conclude(options.output, busy)


def once(told: dict[str, Any]) -> tuple[float, int]:
    """CPU seconds and bytes of one report."""
    with tempfile.TemporaryDirectory() as name:
        start = time.process_time()
        page = files.write(told, Path(name) / "report")
        return time.process_time() - start, page.stat().st_size


def table(results: list[dict[str, Any]]) -> Table:
    """A row for each study."""
    peer = results[1]
    shown = Table(title="reports")
    for column in ("cells", "study", "CPU time", "a cell", "ratio", "page", "a cell", "ratio"):
        shown.add_column(column, justify="left" if column == "study" else "right")
    for row in results:
        each, of_peer = row["seconds"] / row["cells"], peer["seconds"] / peer["cells"]
        size, size_of_peer = row["bytes"] / row["cells"], peer["bytes"] / peer["cells"]
        at_most = REACH_S.get(row["cells"]), REACH_BYTES.get(row["cells"])
        shown.add_row(
            str(row["cells"]),
            row["study"],
            f"{row['seconds']:.1f} s" + (f" (at most {at_most[0]:.0f})" if at_most[0] else ""),
            f"{1e3 * each:.0f} ms",
            f"{each / of_peer:.2f}",
            f"{row['bytes'] / 1e3:,.0f} kB"
            + (f" (at most {at_most[1] / 1e3:,.0f})" if at_most[1] else ""),
            f"{size / 1e3:.1f} kB",
            f"{size / size_of_peer:.2f}",
        )
    return shown


if __name__ == "__main__":
    main()

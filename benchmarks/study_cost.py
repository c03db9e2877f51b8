"""What a study costs: wall time of 60 short runs over the sum of their training windows.

``python benchmarks/study_cost.py`` runs one study, as a user would (three frameworks, one and two
CPU workers, ten repeats of ten epochs of the MLP), and divides the wall time of the command by the
seconds that its runs spent in timed epochs. Run it on an idle machine with two cores or more.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from launching import run
from measuring import CONSOLE, busy_cores, conclude, parser, write
from rich.table import Table

REACH = 1.5


def main() -> None:
    """Measure, print, write."""
    arguments = parser("study_cost", __doc__, epochs=10, repeats=10)
    arguments.set_defaults(models=["mlp"])
    arguments.add_argument("--workers", default="1,2", help="world sizes")
    options = arguments.parse_args()
    busy = [busy_cores()]
    overrides = [
        f"framework={','.join(options.frameworks)}",
        f"gpus={options.workers}",
        f"model={','.join(options.models)}",
        *(f"data={options.data}", f"epochs={options.epochs}", f"repeats={options.repeats}"),
    ]
    command = [sys.executable, "-m", "distlab.launch", "-m", "device=cpu", *overrides]
    with tempfile.TemporaryDirectory() as name, CONSOLE.status("the study runs"):
        start = time.perf_counter()
        run(command, Path(name), os.environ)
        wall = time.perf_counter() - start
        (file,) = Path(name).glob("outputs/*/*/study.json")
        study = json.loads(file.read_text())
    results = cost(study, wall)
    write(options.output, "study_cost", results, busy)
    table = Table(title=f"a study of {results['runs']} runs: {' '.join(overrides)}")
    for column in ("wall time", "timed windows", "ratio", "at most", "outside windows, by cause"):
        table.add_column(column)
    causes = ", ".join(f"{cause} {seconds:.0f} s" for cause, seconds in results["causes_s"].items())
    table.add_row(
        f"{wall:.0f} s",
        f"{results['windows_s']:.0f} s",
        f"{results['ratio']:.2f}",
        str(REACH),
        causes,
    )
    CONSOLE.print(table)
    for label, seconds in results["windows_by_cell_s"].items():
        CONSOLE.print(f"median windows of a run, {label}: {seconds:.1f} s")
    conclude(options.output, busy)
    if results["failed"]:
        sys.exit(f"{results['failed']} runs failed")


def cost(study: dict[str, Any], wall: float) -> dict[str, Any]:
    """The ratio, and what is known of the time outside the windows."""
    windows = [sum(summary["epoch_time_s"]) for summary in study["runs"]]
    by_cell: dict[str, list[float]] = {}
    causes: dict[str, float] = {}
    for summary, seconds in zip(study["runs"], windows, strict=True):
        label = f"{summary['framework']} {summary['model']}, {summary['world_size']} workers"
        by_cell.setdefault(label, []).append(seconds)
        for cause, part in summary["startup_split_s"].items():
            causes[cause] = causes.get(cause, 0.0) + part
    return {
        "runs": len(windows),
        "failed": len(study["failed"]),
        "wall_s": wall,
        "windows_s": sum(windows),
        "ratio": wall / sum(windows),
        "causes_s": {**causes, "other": wall - sum(windows) - sum(causes.values())},
        "windows_by_cell_s": {name: statistics.median(runs) for name, runs in by_cell.items()},
    }


if __name__ == "__main__":
    main()

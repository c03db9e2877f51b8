"""How all benchmarks measure: contenders interleaved, medians of epochs, ratios of pairs.

A *cell* is one set of conditions under which contenders are timed; the first contender is the peer
that the others are held against. All cells are gone through once for each repeat, and every second
repeat takes the contenders in reverse order, so that a slow drift of the machine meets all alike.
A rate is that of the run's median epoch. Rates of one cell and one repeat form pairs; a ratio is
the median of the pairs' ratios, and its spread the lowest and the highest of them.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from distlab.outcome import environment

CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
QUIET_CORES = 0.2
"""Cores that other processes may keep busy before a run without the figures being doubted."""


@dataclass(frozen=True)
class Timing:
    """One run of one contender: its timed epochs, and all else that it told."""

    steps_per_epoch: int
    epoch_time_s: list[float]
    record: dict[str, Any] = field(repr=False)

    @property
    def rate(self) -> float:
        """Steps per second of the median epoch."""
        return self.steps_per_epoch / statistics.median(self.epoch_time_s)


@dataclass
class Cell:
    """Conditions, the contenders under them (the first is the peer), and what was measured.

    ``reach`` is the ratio to be had at least; ``runs`` holds, by contender, one timing for each
    repeat, or None for a run that failed.
    """

    conditions: dict[str, str | int]
    contenders: dict[str, Callable[[], Timing]]
    reach: float | None = None
    runs: dict[str, list[Timing | None]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def peer(self) -> str:
        """The contender that the others are held against."""
        return next(iter(self.contenders))

    def rates(self, contender: str) -> list[float]:
        """Steps per second of each run that succeeded."""
        return [run.rate for run in self.runs[contender] if run]

    def ratios(self, contender: str) -> list[float]:
        """The contender's rate over the peer's, for each repeat in which both succeeded."""
        pairs = zip(self.runs[contender], self.runs[self.peer], strict=True)
        return [ours.rate / theirs.rate for ours, theirs in pairs if ours and theirs]


def interleave(
    cells: Sequence[Cell], repeats: int, after_each: Callable[[list[float]], None]
) -> list[float]:
    """Run every contender of every cell ``repeats`` times.

    Returns
    -------
    list
        The cores that other processes kept busy before each run. ``after_each`` is called with
        them whenever a cell has been gone through, so that an interrupted benchmark has results.
    """
    busy: list[float] = []
    for cell in cells:
        cell.runs = {name: [] for name in cell.contenders}
    for repeat in range(repeats):
        for number, cell in enumerate(cells):
            names = list(cell.contenders)
            for name in names if repeat % 2 == 0 else reversed(names):
                busy.append(busy_cores())
                label = " ".join(map(str, cell.conditions.values()))
                place = f"repeat {repeat + 1}/{repeats}, cell {number + 1}/{len(cells)}"
                with CONSOLE.status(f"{place}: {label}, {name}"):
                    cell.runs[name].append(_attempt(cell, name))
            after_each(busy)
    return busy


def _attempt(cell: Cell, name: str) -> Timing | None:
    try:
        return cell.contenders[name]()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        cell.errors.append(f"{name}: {error}")
        last = "\n".join(str(error).splitlines()[-12:])
        CONSOLE.print("failed:", *cell.conditions.values(), f"{name}: {last}", markup=False)
        return None


def busy_cores(seconds: float = 0.5) -> float:
    """Cores that are busy now, while no contender runs."""
    return psutil.cpu_percent(interval=seconds) / 100 * (psutil.cpu_count() or 1)


def table(title: str, cells: Sequence[Cell]) -> Table:
    """One row for each contender but the peer."""
    result = Table(title=title)
    for column in (*cells[0].conditions, "contender"):
        result.add_column(column)
    for column in ("steps/s (spread)", "peer (spread)", "ratio (lowest-highest)", "reach"):
        result.add_column(column, justify="right")
    for cell in cells:
        for name in list(cell.contenders)[1:]:
            row = [*map(str, cell.conditions.values()), name]
            if not cell.ratios(name):
                result.add_row(*row, "failed")
                continue
            ratios = cell.ratios(name)
            ratio = statistics.median(ratios)
            result.add_row(
                *row,
                _rate_and_spread(cell.rates(name)),
                _rate_and_spread(cell.rates(cell.peer)),
                f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                "" if cell.reach is None else f"{cell.reach:g}",
                style=None if cell.reach is None or ratio >= cell.reach else "yellow",
            )
    return result


def _rate_and_spread(rates: Sequence[float]) -> str:
    middle = statistics.median(rates)
    return f"{middle:,.0f} ({(max(rates) - min(rates)) / middle:.0%})"


def write(output: Path, benchmark: str, results: Any, busy: Sequence[float]) -> None:
    """Write results with the conditions they were had under as JSON."""
    output.parent.mkdir(parents=True, exist_ok=True)
    text = {
        "benchmark": benchmark,
        "command": sys.argv,
        "environment": environment.describe(),
        "busy_cores_before_runs": list(busy),
        "results": results,
    }
    output.write_text(json.dumps(text, indent=2) + "\n")


def as_json(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What was measured in each cell, with the ratios."""
    return [
        {
            "conditions": cell.conditions,
            "peer": cell.peer,
            "reach": cell.reach,
            "errors": cell.errors,
            "ratios": {name: cell.ratios(name) for name in list(cell.runs)[1:]},
            "runs": {
                name: [run and {**asdict(run), "rate": run.rate} for run in runs]
                for name, runs in cell.runs.items()
            },
        }
        for cell in cells
        if len({len(runs) for runs in cell.runs.values()}) == 1
    ]


def measure(benchmark: str, title: str, cells: Sequence[Cell], options: Any) -> None:
    """Run the cells, write the JSON as they go, print the table; exit with 1 if a run failed."""

    def save(busy: list[float]) -> None:
        write(options.output, benchmark, as_json(cells), busy)

    busy = interleave(cells, options.repeats, save)
    CONSOLE.print(table(title, cells))
    conclude(options.output, busy)
    if any(cell.errors for cell in cells):
        sys.exit(1)


def conclude(output: Path, busy: Sequence[float]) -> None:
    """Say where the results are and whether the machine was idle."""
    if max(busy, default=0.0) > QUIET_CORES:
        CONSOLE.print(
            f"[yellow]other processes kept up to {max(busy):.1f} cores busy before runs: "
            "figures to try the benchmark with, not to publish[/yellow]"
        )
    CONSOLE.print(f"results: {output}")


def parser(
    benchmark: str, description: str, *, epochs: int, repeats: int, executions: str | None = None
) -> Any:
    """A command line with what all benchmarks take; SIGTERM then ends a benchmark in good order.

    ``executions`` are the default ones of a benchmark that lets them be chosen.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--frameworks", type=names, default=["torch", "tf", "paddle"])
    result.add_argument("--models", type=names, default=["mlp", "lenet5"])
    result.add_argument("--data", default="mnist", help="mnist (from DISTLAB_DATA_DIR) or mnist5k")
    result.add_argument("--epochs", type=int, default=epochs, help="timed epochs of a run")
    result.add_argument("--repeats", type=int, default=repeats)
    if executions is not None:
        result.add_argument("--executions", type=pairs, default=pairs(executions))
    result.add_argument("--output", type=Path, default=Path(f"outputs/benchmarks/{benchmark}.json"))
    return result


def names(text: str) -> list[str]:
    """``a,b`` as a list."""
    return text.split(",")


def pairs(text: str) -> list[tuple[str, str]]:
    """``torch=graph,tf=graph`` as pairs of framework and execution."""
    parted = (pair.partition("=") for pair in names(text))
    return [(framework, execution) for framework, _, execution in parted]


BEST = "torch=eager,torch=graph,tf=graph,paddle=eager"
"""The executions that are each framework's best, as far as is known; torch's is found out anew."""

"""The table that a decision rests on: each framework and number of workers, with every figure."""

import dataclasses
import math
from collections.abc import Sequence

from distlab.console import counted
from distlab.measure.statistics import Estimate
from distlab.outcome.exchange import UNTOLD
from distlab.report.figures.baselines import HERE
from distlab.report.figures.cell import Cell
from distlab.report.figures.groups import Group
from distlab.report.sections.tables import (
    NOTHING,
    Table,
    Value,
    estimated,
    number,
    why_not,
)

MB = 1e6


def main(group: Group, fastest: Sequence[Cell]) -> Table:
    """Framework by world size: every figure of the ranked cells, with its interval.

    Where no figure has an interval, the title says so once. What no cell has is no column.

    Parameters
    ----------
    group:
        Cells that may be compared.
    fastest:
        Those of them that are told to be the fastest of their world size.
    """
    target = next((run["target_accuracy"] for cell in group.cells for run in cell.runs), None)
    columns = [
        "framework",
        "workers",
        "time to accuracy" if target is None else f"s to {100 * target:.4g}%",
        "samples/s",
        "speed-up",
        "test accuracy",
        "memory, MB",
        "whole job, s",
        "start-up, s",
        "exchange",
        "MFU",
        "verified",
    ]
    ranked, best = group.ranked, {cell.cell for cell in fastest}
    rows = [_row(cell) for cell in ranked]
    title = group.title
    if all(cell.throughput is None or cell.throughput.low is None for cell in ranked):
        most = max((len(cell.counted) for cell in ranked), default=0)
        title += f" ({most} run{'s' * (most != 1)} of each: no intervals)"
        rows = [[_bare(value) for value in row] for row in rows]
    empty = [all(row[place].text == NOTHING for row in rows) for place in range(len(columns))]
    return Table(
        title,
        [name for name, none in zip(columns, empty, strict=True) if not none],
        [[value for value, none in zip(row, empty, strict=True) if not none] for row in rows],
        wordy=frozenset({"framework", "verified"}),
        best=frozenset(place for place, cell in enumerate(ranked) if cell.cell in best),
        opens=frozenset(
            place
            for place in range(1, len(ranked))
            if ranked[place].world_size != ranked[place - 1].world_size
        ),
    )


def _row(cell: Cell) -> list[Value]:
    repeats = len(cell.runs) + cell.failed
    alone = cell.world_size == 1
    threads = cell.threads_per_worker
    each = "" if threads is None else f"{counted(threads, 'thread')}{' each' * (not alone)}"
    where = each if cell.device == "cpu" else "", cell.places and f"on {cell.places}"
    return [
        Value(cell.name, cell.framework_version or ""),
        Value(f"{cell.world_size} {cell.device.upper()}", "\n".join(filter(None, where))),
        _time_to_accuracy(cell),
        estimated(cell.throughput, "figure"),
        Value("1") if alone else _speedup(cell),
        _accuracy(cell),
        Value(NOTHING if cell.peak_memory_bytes is None else f"{cell.peak_memory_bytes / MB:,.0f}"),
        _whole_job(cell),
        Value(number(cell.startup_s, 2), f"compile {_compiling(cell)}"),
        Value(NOTHING) if alone else _exchange(cell),
        estimated(cell.model_flop_utilisation, "share"),
        Value(f"{sum(run['verified'] for run in cell.runs)} of {repeats}", why_not(cell)),
    ]


def _bare(value: Value) -> Value:
    """A value without the remark that it has no interval."""
    said = ("no interval", "no sd")
    kept = [line for line in value.detail.split("\n") if not line.endswith(said)]
    return dataclasses.replace(value, detail="\n".join(kept))


def _speedup(cell: Cell) -> Value:
    if cell.speedup is None or cell.efficiency is None:
        return Value("no baseline")
    shown = estimated(cell.speedup, "ratio")
    text = f"{shown.text} ({cell.efficiency.value:.0%})"
    elsewhere = "" if cell.baseline == HERE else "\nover another study"
    return Value(text, f"{shown.detail}{elsewhere}")


def _exchange(cell: Cell) -> Value:
    shown = estimated(cell.communication_share, "{:.1%}")
    return shown if cell.communication_told in (None, True) else Value(UNTOLD, shown.detail)


def _accuracy(cell: Cell) -> Value:
    """With as many decimals as the number of test samples bears: two where it errs by 0.2 %."""
    mean = cell.accuracy_mean
    if mean is None:
        return Value(NOTHING)
    samples = next((run.get("evaluated_samples") for run in cell.counted), None)
    error = math.sqrt(mean * (1 - mean) / samples) if samples else 0.0
    form = "{:.1%}" if error > 0.002 else "{:.2%}"
    sd = "1 run, no sd" if cell.accuracy_sd is None else f"sd {cell.accuracy_sd:.2%}"
    return Value(form.format(mean), sd)


def _time_to_accuracy(cell: Cell) -> Value:
    """Known to one epoch, or less, so that a figure without an interval has two digits."""
    if cell.counted and cell.accuracy_mean is None:
        return Value(NOTHING)  # of noise
    time: Estimate | None = cell.time_to_accuracy_s
    reached = f"{cell.reached} of {len(cell.counted)} runs"
    all_did = cell.reached == len(cell.counted)
    if time is None:
        return Value("not reached", reached)
    more = [] if all_did else [reached]
    more += [] if cell.resolution_s is None else [f"known to {number(cell.resolution_s, 2)} s"]
    if time.low is None:
        return Value(number(time.value, 2), "\n".join(more))
    shown = estimated(time, "figure")
    return Value(shown.text, "\n".join([shown.detail, *more]))


def _compiling(cell: Cell) -> str:
    """Seconds of compiling, and whether they were cold, where that is known."""
    seconds = cell.compile_s
    took = f"{seconds:.2f}" if seconds is not None and seconds < 10 else number(seconds, 2)
    if cell.compile_cached is None:
        return took
    if not cell.compile_cached:
        return f"{took} (cold)"
    cold = "" if cell.compile_cold_s is None else f"; cold {number(cell.compile_cold_s, 2)}"
    return f"{took} (cached{cold})"


def _whole_job(cell: Cell) -> Value:
    """From the command to the record, and the cores that it held for so long."""
    if cell.job_s is None:
        return Value(NOTHING)
    held = cell.job_s * cell.world_size * (cell.threads_per_worker or 1)
    unit = "GPU-s" if cell.device == "gpu" else "core-s"
    return Value(number(cell.job_s, 2), f"{number(held, 2)} {unit}")

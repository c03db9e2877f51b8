"""A study's figures for other programs: one flat row for each cell, and one for each run."""

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from distlab.experiment.names import words
from distlab.measure.statistics import Estimate
from distlab.outcome import caveats
from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import Comparison
from distlab.report.figures.prediction.outlook import held_out
from distlab.report.figures.runs import end, failed_checks, precision
from distlab.report.sections.what_if.break_even import break_evens
from distlab.report.sections.what_if.overtaking import overtakings

RUN_KEYS = (
    "cell",
    "repeat",
    "run_seed",
    "group_run",
    "framework",
    "framework_version",
    "execution",
    "precision",
    "model",
    "data",
    "device",
    "device_name",
    "world_size",
    "scaling",
    "batch_size",
    "global_batch_size",
    "threads_per_worker",
    "epochs",
    "comparison_key",
    "throughput_samples_per_s",
    "speedup",
    "scaling_efficiency",
    "baseline_run_id",
    "time_to_accuracy_s",
    "startup_s",
    "compile_s",
    "communication_share",
    "communication_share_low",
    "communication_share_high",
    "model_flop_utilisation",
    "matrix_product_flops_per_s",
    "peak_memory_bytes",
    "peak_device_memory_bytes",
    "wall_s",
    "verified",
)
"""What a row of a run takes from its summary as it is."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""

PAIR_KEYS = (
    "framework",
    "framework_version",
    "model",
    "device",
    "world_size",
    "scaling",
    "batch_size",
    "precision",
)
"""What a row of a graph against eager has of both cells."""


def cell_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Each cell as a flat row; an estimate becomes ``name``, ``name_low``, ``name_high``.

    Bounds are of 95 % intervals; what is unknown is None. ``runs``, ``counted_runs`` and
    ``failed_runs`` are numbers; ``varied`` holds the options that tell the cell from the others.
    """
    rows = []
    for cell in cells:
        row: dict[str, Any] = {}
        for field in fields(cell):
            value = getattr(cell, field.name)
            if "Estimate" in str(field.type):
                row.update(_estimate(field.name, value))
            elif field.name in ("runs", "counted"):
                row["counted_runs" if field.name == "counted" else "runs"] = len(value)
            elif field.name == "failed":
                row["failed_runs"] = value
            elif field.name in ("varied", "apart", "options"):
                row |= {"varied": words(value)} if field.name == "varied" else {}
            else:
                row[field.name] = value
        rows.append(row)
    return rows


def break_even_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Each graph against eager as a flat row: seconds, and epochs after which it has paid."""
    return [
        {
            **{name: getattr(pair.graph, name) for name in PAIR_KEYS},
            "eager_cell": pair.eager.cell,
            "graph_cell": pair.graph.cell,
            "compile_s_eager": pair.eager.compile_s,
            "compile_s_graph": pair.graph.compile_s,
            **_estimate("saved_s_per_epoch", pair.saved_s),
            "pays_after_epochs": pair.after,
            "pays_after_epochs_low": pair.after_low,
            "pays_after_epochs_high": pair.after_high,
            "sentence": pair.sentence,
        }
        for pair in break_evens(comparisons)
    ]


def overtaking_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Each pair of which the faster starts later: seconds, and epochs after which it is ahead."""
    return [
        {
            "faster_cell": pair.faster.cell,
            "sooner_cell": pair.sooner.cell,
            "later_s": pair.later_s,
            "saved_s_per_epoch": pair.saved_s,
            "ahead_after_epochs": pair.after,
            "sentence": pair.sentence,
        }
        for pair in overtakings(comparisons)
    ]


def prediction_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Each prediction beside a measurement that it is not made of, as a flat row: samples/s."""
    return [
        {
            "framework": one.base.cell.framework,
            "execution": one.base.cell.execution,
            "group": one.series.group.title,
            "base_cell": one.base.cell.cell,
            "base_world_size": one.base.workers,
            "world_size": row.workers,
            "predicted_samples_per_s": row.throughput.value,
            "predicted_samples_per_s_low": row.throughput.low,
            "predicted_samples_per_s_high": row.throughput.high,
            "measured_samples_per_s": row.measured,
            "measured_does_not_count": row.doubt or None,
        }
        for one in held_out(cells)
        for row in one.predicted
    ]


def run_rows(study: dict[str, Any]) -> list[dict[str, Any]]:
    """Each run as a flat row; ``state`` says whether figures are from it.

    The states are ``counted``, ``unverified``, ``failed``, ``diverged``, and the words of the
    caveats that keep a verified run out of rankings: ``too noisy``. Times are in seconds,
    throughput in samples/s, memory in bytes; shares are of 1.
    """
    rows = []
    for run in study["runs"]:
        load = run.get("load") or {}
        seconds = run.get("epoch_time_s") or []
        accuracy = run.get("test_accuracy") or []
        doubts = caveats.doubts(run)
        doubted = caveats.words(doubts) if run["verified"] else "unverified"
        rows.append(
            {
                "state": "counted" if caveats.counts(run) else doubted,
                "run_id": run["mlflow"].get("run_id"),
                **{key: run.get(key) for key in RUN_KEYS},
                "precision": precision(run),
                "training_time_s": sum(seconds) if seconds else None,
                "final_test_accuracy": accuracy[-1] if accuracy else None,
                "own_cores": load.get("own_cores"),
                "other_cores": load.get("other_cores"),
                "steal": load.get("steal"),
                "caveats": [str(code) for code in caveats.codes(caveats.of(run))],
                "problem": "; ".join(failed_checks(run)) or caveats.told(doubts) or None,
            }
        )
    known = list(rows[0]) if rows else ["state", "run_id", *RUN_KEYS, "problem"]
    for run in study.get("failed", []):
        row = {**dict.fromkeys(known), **{key: run.get(key) for key in RUN_KEYS if key in run}}
        row["precision"] = precision(run)
        rows.append({**row, "state": end(run), "problem": run["error"]})
    return rows


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV with a header (RFC 4180); lists are joined by semicolons, None is empty.

    Text that a spreadsheet would take for a formula begins with an apostrophe (OWASP, "CSV
    Injection").
    """
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _field(value) for name, value in row.items()})
    return text.getvalue()


def _field(value: Any) -> Any:
    """A value as it stands in a table for programs."""
    text = "; ".join(map(str, value)) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA) else text


def _estimate(name: str, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{name}_n": 0}
    return {
        name: estimate.value,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
        f"{name}_n": estimate.n,
    }

import csv
import io

import pytest
from studies import study, where

from distlab.report.figures.cells import cells
from distlab.report.formats.rows import as_csv, cell_rows, run_rows


def test_a_cell_s_estimates_become_value_and_bounds() -> None:
    (cell, *_) = cells(study(models=["mlp"], scalings=["weak"]))
    (row, *_) = cell_rows([cell])
    assert cell.throughput is not None
    assert row["throughput"] == cell.throughput.value
    assert row["throughput_low"] == cell.throughput.low
    assert row["throughput_n"] == 5
    assert row["communication_share"] is None
    assert (row["runs"], row["counted_runs"], row["failed_runs"]) == (5, 5, 0)


def test_a_row_for_each_run_says_whether_it_counts() -> None:
    told = study(
        models=["mlp"],
        scalings=["weak"],
        world_sizes=[1],
        unverified=where(framework="torch", repeat=1),
        noisy=where(framework="tf", repeat=2),
        oversubscribed=where(framework="tf", repeat=(2, 4)),
        failed=where(framework="paddle", repeat=3),
    )
    rows = run_rows(told)
    assert len(rows) == 15
    states = {(r["framework"], r["repeat"]): r["state"] for r in rows if r["state"] != "counted"}
    assert states == {
        ("torch", 1): "unverified",
        ("tf", 2): "oversubscribed, too noisy",
        ("tf", 4): "oversubscribed",
        ("paddle", 3): "failed",
    }
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    caveats = {(r["framework"], r["repeat"]): r["caveats"] for r in rows if r["caveats"]}
    assert caveats == {("tf", 2): ["oversubscribed", "noisy"], ("tf", 4): ["oversubscribed"]}
    first = told["runs"][0]
    assert rows[0]["training_time_s"] == pytest.approx(sum(first["epoch_time_s"]))
    assert rows[0]["final_test_accuracy"] == first["test_accuracy"][-1]


def test_rows_have_the_peak_of_device_memory_also_of_runs_recorded_without_one() -> None:
    made = study(repeats=2, models=["mlp"])
    made["runs"][0]["peak_device_memory_bytes"] = 7_000
    del made["runs"][1]["peak_device_memory_bytes"]
    assert [row["peak_device_memory_bytes"] for row in run_rows(made)][:3] == [7_000, None, None]
    assert cells(made)


def test_csv_reads_back_as_it_was() -> None:
    rows = cell_rows(cells(study(models=["mlp"], unverified=where(framework="tf", repeat=0))))
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert len(read) == len(rows)
    assert [row["framework"] for row in read] == [row["framework"] for row in rows]
    assert [float(row["throughput"]) for row in read] == [row["throughput"] for row in rows]
    assert read[0]["communication_share"] == ""
    assert "trajectory" in next(row["problems"] for row in read if row["framework"] == "tf")


def test_no_rows_are_no_lines() -> None:
    assert as_csv([]) == ""


def test_rows_have_the_precision_also_of_runs_recorded_without_one() -> None:
    made = study(repeats=2, precision="bf16", failed=lambda run: run["repeat"] == 1)
    assert {row["precision"] for row in cell_rows(cells(made))} == {"bf16"}
    assert {row["precision"] for row in run_rows(made)} == {"bf16"}
    for run in [*made["runs"], *made["failed"]]:
        del run["precision"]
    assert {row["precision"] for row in run_rows(made)} == {"fp32"}


def test_text_that_a_spreadsheet_would_take_for_a_formula_is_marked_as_text() -> None:
    rows = [{"error": "=cmd()", "names": ["@x", "y"], "mean": -1.5, "low": None}]
    assert as_csv(rows).splitlines()[1] == "'=cmd(),'@x; y,-1.5,"

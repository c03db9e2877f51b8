"""Predictions beside measurements, as the report shows them."""

import json
from pathlib import Path
from typing import Any

import pytest
from studies import study, where

from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.formats import files, markdown
from distlab.report.formats.rows import prediction_rows

SIZES = (2**10, 2**14, 2**18, 4 * 89_610, 2**20)


def told(**options: Any) -> dict[str, Any]:
    made = study(models=["mlp"], frameworks=["torch"], scalings=["weak"], repeats=3, **options)
    for run in made["runs"]:
        if run["world_size"] > 1:
            run["all_reduces"] = [
                {"bytes": size, "seconds": [1e-5 + 1e-9 * size, 1.1e-5 + 1e-9 * size]}
                for size in SIZES
            ]
    return made


def test_a_prediction_stands_beside_what_was_measured_without_it() -> None:
    made = told(world_sizes=(1, 2, 4), oversubscribed=where(world_size=4))
    report = contents(made, cells(made), [])
    assert report.predicted is not None
    beside, fitted = report.predicted.tables
    (row,) = beside.rows
    shown = dict(zip(beside.columns, row, strict=True))
    assert shown["made of"].text == "1 and 2 workers" and shown["workers"].text == "4"
    assert shown["measured"].detail == "oversubscribed"
    (fit,) = fitted.rows
    assert [value.text for value in fit[2:5]] == ["2", "1", "ring"]
    assert "## Predicted and measured" in markdown.document(report)


def test_rows_for_programs_hold_both() -> None:
    (row,) = prediction_rows(cells(told(world_sizes=(1, 2, 4))))
    assert (row["base_world_size"], row["world_size"]) == (2, 4)
    assert row["predicted_samples_per_s_low"] < row["predicted_samples_per_s"]
    assert row["measured_samples_per_s"] > 0 and row["measured_does_not_count"] is None


def test_a_study_without_more_workers_tells_what_was_fitted_alone() -> None:
    made = told()
    report = contents(made, cells(made), [])
    assert report.predicted is not None
    assert [table.title for table in report.predicted.tables] == ["All-reduces, as fitted"]


def test_a_study_that_timed_no_all_reduce_has_no_such_part() -> None:
    made = study(models=["mlp"], repeats=1, world_sizes=(1, 2, 4))
    report = contents(made, cells(made), [])
    assert report.predicted is None
    assert "Predicted and measured" not in markdown.document(report)


@pytest.mark.slow  # draws plots
def test_the_page_and_the_data_hold_it(tmp_path: Path) -> None:
    page = files.write(told(world_sizes=(1, 2, 4)), tmp_path).read_text()
    assert 'id="predicted"' in page and "as fitted" in page
    (row,) = json.loads((tmp_path / "report.json").read_text())["predictions"]
    assert row["framework"] == "torch"

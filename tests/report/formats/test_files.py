import csv
import json
from pathlib import Path

import pytest
from studies import study, together, where

from distlab.report.formats import files
from distlab.report.plots.render import KINDS

pytestmark = pytest.mark.slow


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    told = study(
        models=["mlp"], scalings=["weak"], repeats=4, noisy=where(framework="tf", repeat=1)
    )
    page = files.write(told, tmp_path / "made" / "here")
    folder = page.parent
    assert page == tmp_path / "made" / "here" / "report.html"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        *("cells.csv", "plots", "report.html", "report.json", "report.md", "requirements.txt"),
        "runs.csv",
    ]
    kinds = [kind for kind, how in KINDS.items() if how.plotter]
    assert len(list((folder / "plots").iterdir())) == 2 * len(kinds)
    with (folder / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    data = json.loads((folder / "report.json").read_text())
    assert len(rows) == len(data["cells"]) == 6
    assert len(data["runs"]) == 24
    assert len(data["comparisons"]) == 6
    assert data["study"] == told["study"]
    assert [float(row["throughput"]) for row in rows] == [c["throughput"] for c in data["cells"]]
    assert "tf graph" in data["verdict"]["headline"]


def test_a_study_recorded_before_there_were_caveats_is_written_and_its_noise_known(
    tmp_path: Path,
) -> None:
    told = study(
        models=["mlp"], scalings=["weak"], repeats=3, noisy=where(framework="tf", world_size=2)
    )
    for run in told["runs"]:
        for name in (
            *("schema_version", "options", "kept_from_workers", "caveats"),
            *("communication_share_low", "communication_share_high"),
        ):
            del run[name]
    files.write(told, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert [run["state"] for run in data["runs"]].count("too noisy") == 3
    lost = [cell for cell in data["cells"] if not cell["ranked"]]
    assert [(cell["framework"], cell["world_size"]) for cell in lost] == [("tf", 2)]
    page = (tmp_path / "report.html").read_text()
    assert "Left out, not ranked: tf graph, 2 CPU workers (3 too noisy)" in page


def test_writing_again_leaves_no_plot_of_before(tmp_path: Path) -> None:
    files.write(study(models=["mlp", "lenet5"], scalings=["weak"], repeats=1), tmp_path)
    files.write(study(models=["mlp"], scalings=["weak"], repeats=1), tmp_path)
    assert not list((tmp_path / "plots").glob("*lenet5*"))
    assert list((tmp_path / "plots").glob("*mlp*"))


def test_a_study_without_a_figure_is_written_too(tmp_path: Path) -> None:
    told = study(models=["mlp"], failed=lambda run: True, repeats=1)
    assert files.write(told, tmp_path).exists()
    assert (tmp_path / "runs.csv").read_text().count("failed") == 12


def test_writing_again_keeps_files_that_are_not_its_own(tmp_path: Path) -> None:
    files.write(study(models=["mlp"], scalings=["weak"], repeats=1), tmp_path)
    mine = tmp_path / "plots" / "my-own-plot.png"
    mine.write_bytes(b"mine")
    files.write(study(models=["lenet5"], scalings=["weak"], repeats=1), tmp_path)
    assert mine.read_bytes() == b"mine"
    assert not list(tmp_path.rglob("*.part"))


def test_nothing_is_written_or_deleted_through_a_link(tmp_path: Path) -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    victim = elsewhere / "throughput-mlp-weak-64.svg"
    victim.write_text("kept")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "plots").symlink_to(elsewhere)
    with pytest.raises(OSError, match="is a link"):
        files.write(told, tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "report.html").symlink_to(victim)
    files.write(told, tmp_path / "two")
    assert victim.read_text() == "kept"
    assert not (tmp_path / "two" / "report.html").is_symlink()


def size(tmp_path: Path, batches: int) -> int:
    """Bytes of a page of six cells of ten repeats for each batch size."""
    parts = [
        study(models=["mlp"], scalings=["weak"], repeats=10, batch_size=8 * n, random_seed=n)
        for n in range(1, batches + 1)
    ]
    return files.write(together(*parts), tmp_path / str(batches)).stat().st_size


def test_a_page_is_small_however_large_the_study(tmp_path: Path) -> None:
    few, many = size(tmp_path, 9), size(tmp_path, 15)
    assert size(tmp_path, 1) < 150_000
    each = (many - few) / (6 * (15 - 9))
    assert few + (600 - 6 * 9) * each < 3_000_000

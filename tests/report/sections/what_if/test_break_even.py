import json
from pathlib import Path
from typing import Any

import pytest
from studies import study, together

from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.formats import html, markdown
from distlab.report.formats.files import write
from distlab.report.plots.style import Styles
from distlab.report.sections.what_if.break_even import BreakEven, break_evens, table

ONE: dict[str, Any] = {"models": ("mlp",), "scalings": ("weak",), "world_sizes": (1,), "epochs": 2}
SAMPLES = 60_000


def both(
    eager: list[float],
    graph: list[float],
    compiles: tuple[float, float] = (1.0, 11.0),
    **options: Any,
) -> dict[str, Any]:
    """A study of torch in both executions, given the seconds of an epoch of each repeat."""
    made = []
    for execution, seconds, compile_s in zip(
        ("eager", "graph"), (eager, graph), compiles, strict=True
    ):
        one = study(
            repeats=len(seconds),
            frameworks=("torch",),
            executions={"torch": execution},
            **{**ONE, **options},
        )
        for run in one["runs"]:
            epoch_s = seconds[run["repeat"]]
            run["epoch_time_s"] = [epoch_s, epoch_s]
            run["throughput_samples_per_s"] = SAMPLES / epoch_s
            # The processes are kept, and compile in the first run of the cell.
            run["group_run"] = run["repeat"] + (execution == "graph")
            run["compile_s"] = compile_s if run["repeat"] == 0 else 0.0
        made.append(one)
    return together(*made)


def only(data: dict[str, Any]) -> BreakEven:
    (found,) = break_evens(compare(cells(data)))
    return found


def test_a_graph_pays_after_compile_time_over_saved_time() -> None:
    # Ten seconds more of compilation and four less an epoch: 2.5, so after the third epoch.
    found = only(both([10.0] * 5, [6.0] * 5))
    assert (found.compile_s, found.saved_s.value) == (10.0, pytest.approx(4.0))
    assert (found.after, found.after_low, found.after_high) == (3, 3, 3)
    assert found.told
    assert found.sentence == (
        "torch, mlp of mnist on 1 CPU worker (weak scaling, batch 64): graph compiles for 10.0 s "
        "longer and saves 4.00 s an epoch (95% CI 4.00 to 4.00 s): it pays after 3 epochs"
    )


def test_bounds_are_from_the_pairs() -> None:
    # Saved 5, 3.5, 6: mean 4.8333, median 5, sd 1.2583, t(2) = 4.303: median -+ 3.9177.
    found = only(both([10.0, 9.0, 11.0], [5.0, 5.5, 5.0], (0.0, 21.0)))
    assert found.saved_s.value == pytest.approx(4.8333, abs=1e-3)
    assert found.saved_s.low == pytest.approx(5 - 3.9177, abs=1e-3)
    assert found.saved_s.high == pytest.approx(5 + 3.9177, abs=1e-3)
    # 21 / 4.83, 21 / 8.92, 21 / 1.08
    assert (found.after, found.after_low, found.after_high) == (5, 3, 20)
    assert "it pays after 5 epochs (3 to 20)" in found.sentence


def test_a_graph_that_is_slower_does_not_pay() -> None:
    found = only(both([10.0] * 5, [12.0] * 5))
    assert (found.after, found.outcome) == (None, "does not pay")
    assert found.sentence.endswith(
        "graph compiles for 10.0 s longer and loses 2.00 s an epoch (95% CI 2.00 to 2.00 s): it "
        "does not pay"
    )


def test_no_number_is_given_where_no_saving_can_be_told() -> None:
    found = only(both([10.0] * 5, [9.0, 11.0, 9.5, 10.5, 9.0]))
    assert (found.after, found.after_low, found.outcome) == (None, None, "not told")
    assert "whether it saves time in an epoch cannot be told" in found.sentence
    assert "no number of epochs can be given" in found.sentence


def test_without_an_interval_no_number_of_epochs_is_given() -> None:
    found = only(both([10.0], [6.0]))
    assert (found.after, found.after_low, found.after_high) == (None, None, None)
    assert (found.told, found.outcome) == (False, "not told")
    assert "cannot be told (+4.00 s an epoch, from 1 repeat, no interval)" in found.sentence


def test_a_graph_that_compiles_no_longer_pays_from_the_first_epoch() -> None:
    found = only(both([10.0] * 5, [6.0] * 5, (2.0, 1.5)))
    assert found.after == 0
    assert "0.500 s less long" in found.sentence
    assert found.sentence.endswith("it pays from the first epoch")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({}, {"world_size": 2}),
        ({}, {"precision": "bf16", "comparison_key": "0" * 16}),
        ({}, {"framework_version": "9"}),
        ({}, {"verified": False}),
        ({"batch_size": 32, "comparison_key": "0" * 16}, {}),
        ({}, {"compile_s": None}),
    ],
)
def test_only_cells_that_differ_in_execution_alone_are_paired(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    data = both([10.0] * 5, [6.0] * 5)
    for run in data["runs"]:
        run.update(left if run["execution"] == "eager" else right)
    assert break_evens(compare(cells(data))) == []


def test_frameworks_in_one_execution_have_none() -> None:
    assert break_evens(compare(cells(study()))) == []
    assert contents(study(), cells(study()), []).compilation is None


def test_it_stands_in_every_form_of_the_report(tmp_path: Path) -> None:
    data = both([10.0] * 5, [6.0] * 5, precision="bf16")
    found = cells(data)
    report = contents(data, found, [])
    said = "(weak scaling, batch 64, bf16): graph compiles for 10.0 s longer and saves 4.00 s"
    assert said in markdown.document(report)
    assert said in html.page(report, found, Styles(found), {})
    assert said in markdown.summary(data)
    (row,) = table(break_evens(compare(found))).rows
    assert [str(value) for value in row] == [
        "torch (2.13.0)",
        "mlp, 1 CPU worker, bf16 (weak scaling, batch 64)",
        "graph 11.0 (eager 1.00)",
        "graph 6.00 (eager 10.0)",
        "4.00 (4.00 to 4.00)",
        "3 epochs",
    ]
    write(data, tmp_path)
    (entry,) = json.loads((tmp_path / "report.json").read_text())["compilation"]
    assert (entry["compile_s_eager"], entry["compile_s_graph"]) == (1.0, 11.0)
    assert (entry["pays_after_epochs"], entry["precision"]) == (3, "bf16")

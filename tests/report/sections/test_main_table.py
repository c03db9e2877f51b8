from dataclasses import replace

from studies import study

from distlab.measure.statistics import Estimate
from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups
from distlab.report.sections.main_table import main
from distlab.report.sections.tables import set_apart


def test_the_main_table_has_a_row_for_each_ranked_cell_and_marks_the_fastest() -> None:
    (group,) = groups(cells(study(models=["mlp"], scalings=["weak"])))
    fastest = [cell for cell in group.cells if cell.framework == "tf" and cell.world_size == 1]
    table = main(group, fastest)
    names = [(row[0].text, row[1].text) for row in table.rows]
    assert names == [
        (f"{framework}", f"{n} CPU")
        for n in (1, 2)
        for framework in ("torch eager", "tf graph", "paddle eager")
    ]
    assert table.best == {1}
    assert table.opens == {3}
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_main_table_shows_each_figure_of_the_cell() -> None:
    (group,) = groups(cells(study(models=["mlp"], scalings=["weak"], frameworks=["torch"])))
    two = group.cells[1]
    estimate = Estimate(1.25, 1.2, 1.3, 5)
    two = replace(
        two,
        throughput=Estimate(12_345.6, 12_000.0, 13_000.0, 5),
        speedup=estimate,
        efficiency=estimate.scaled(0.5),
        epoch_time_s=Estimate(4.86, 4.6, 5.0, 5),
        accuracy_mean=0.9712,
        accuracy_sd=0.0011,
        time_to_accuracy_s=Estimate(9.0, 8.0, 10.0, 4),
        reached=4,
        startup_s=7.25,
        job_s=31.5,
        peak_memory_bytes=512e6,
        compile_s=0.5,
        communication_share=Estimate(0.25, 0.2, 0.3, 5),
        model_flop_utilisation=Estimate(0.5, 0.4, 0.6, 5),
    )
    table = main(replace(group, cells=[two]), [])
    row = dict(zip(table.columns, map(str, table.rows[0]), strict=True))
    assert row == {
        "framework": "torch eager (2.13.0)",
        "workers": "2 CPU (1 thread each)",
        "s to 97%": "9.0 (8.0 to 10; 4 of 5 runs)",
        "samples/s": "12,350 (12,000 to 13,000)",
        "speed-up": "1.25 (62%) (1.20 to 1.30)",
        "test accuracy": "97.1% (sd 0.11%)",
        "memory, MB": "512",
        "whole job, s": "32 (63 core-s)",
        "start-up, s": "7.2 (compile 0.50)",
        "exchange": "25.0% (20.0% to 30.0%)",
        "MFU": "50% (40% to 60%)",
        "verified": "5 of 5",
    }


def test_without_a_baseline_there_is_no_speed_up() -> None:
    (group,) = groups(
        cells(study(models=["mlp"], scalings=["weak"], world_sizes=[2], baselines="nowhere"))
    )
    table = main(group, [])
    place = table.columns.index("speed-up")
    assert {row[place].text for row in table.rows} == {"no baseline"}


def test_that_there_are_no_intervals_is_said_once() -> None:
    (group,) = groups(cells(study(models=["mlp"], scalings=["weak"], repeats=1)))
    table = main(group, [])
    assert table.title.endswith(" (1 run of each: no intervals)")
    assert not any("no interval" in str(value) for row in table.rows for value in row)


def test_accuracy_has_the_decimals_that_the_test_set_bears() -> None:
    for samples, shown in ((1_000, "97.1%"), (10_000, "97.12%")):
        told = study(models=["mlp"], scalings=["weak"], world_sizes=[1], frameworks=["torch"])
        for run in told["runs"]:
            run.update(evaluated_samples=samples, test_accuracy=[0.9712])
        (group,) = groups(cells(told))
        (row,) = main(group, []).rows
        assert row[5].text == shown


def test_an_exchange_that_is_not_told_from_0_says_so_with_its_interval() -> None:
    (group,) = groups(cells(study(models=["mlp"], scalings=["weak"], world_sizes=[2])))
    share = Estimate(-0.107, -0.12, 0.01, 5)
    cell = replace(group.cells[0], communication_share=share, communication_told=False)
    table = main(replace(group, cells=[cell]), [])
    shown = str(table.rows[0][table.columns.index("exchange")])
    assert shown == "not told from 0 (-12.0% to 1.0%)"


def test_a_caveat_of_runs_that_count_stands_beside_them() -> None:
    unlike = [{"code": "unlike_hosts", "detail": "4 cores on a, 2 cores on b"}]
    told = study(models=["mlp"], scalings=["weak"], world_sizes=[2], values={"caveats": unlike})
    (group,) = groups(cells(told))
    assert str(main(group, []).rows[0][-1]) == "5 of 5 (5 unlike hosts)"
    assert set_apart(told) is None

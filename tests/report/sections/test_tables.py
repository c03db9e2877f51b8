import pytest
from studies import study, where

from distlab.measure.statistics import Estimate
from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups
from distlab.report.sections import tables
from distlab.report.sections.main_table import main


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 4, tables.NOTHING),
        (108_012.3, 4, "108,000"),
        (1234.4, 4, "1,234"),
        (0.55543, 3, "0.555"),
        (12.34, 3, "12.3"),
        (99.96, 3, "100"),
        (8.0, 3, "8.00"),
        (0.0, 3, "0.00"),
    ],
)
def test_a_figure_has_its_significant_digits(value: float | None, digits: int, text: str) -> None:
    assert tables.number(value, digits) == text


def test_an_estimate_without_an_interval_says_so() -> None:
    assert tables.estimated(Estimate(2.0, None, None, 1)).detail == "1 run, no interval"
    assert tables.estimated(Estimate(2.0, None, None, 2)).detail == "2 runs, no interval"
    assert tables.estimated(None).text == tables.NOTHING


def test_a_ratio_whose_interval_excludes_1_never_shows_1() -> None:
    told = tables.estimated(Estimate(1.0041, 1.0012, 1.0071, 5), "ratio")
    assert (told.text, told.detail) == ("1.004", "1.001 to 1.007")
    untold = tables.estimated(Estimate(1.0041, 0.9986, 1.01, 5), "ratio")
    assert (untold.text, untold.detail) == ("1.00", "1.00 to 1.01")


@pytest.mark.parametrize(
    ("low", "high", "places"),
    [(12_000.0, 13_000.0, 4), (12_300.0, 12_420.0, 5), (8_000.0, 19_000.0, 3), (None, None, 3)],
)
def test_a_figure_has_the_digits_that_its_interval_bears(
    low: float | None, high: float | None, places: int
) -> None:
    assert tables.digits(Estimate(12_345.6, low, high, 5)) == places


def test_runs_that_do_not_count_are_set_apart_with_their_reasons() -> None:
    told = study(
        models=["mlp"],
        scalings=["weak"],
        unverified=where(framework="torch", repeat=1, world_size=1),
        noisy=where(framework="tf", repeat=2, world_size=1),
        failed=where(framework="paddle", repeat=3, world_size=1),
    )
    told["failed"].append(
        {**told["failed"][0], "repeat": 4, "error": "diverged at step 2 of epoch 1 on rank 0: nan"}
    )
    table = tables.set_apart(told)
    assert table is not None
    found = [(row[0].text, row[2].text, row[3].text) for row in table.rows]
    assert found == [
        ("torch eager, 1 CPU worker", "1", "unverified"),
        ("tf graph, 1 CPU worker", "2", "too noisy"),
        ("paddle eager, 1 CPU worker", "3", "failed"),
        ("paddle eager, 1 CPU worker", "4", "diverged"),
    ]
    why = [row[5].text for row in table.rows]
    assert "trajectory: relative error 3.1e-02" in why[0]
    assert "1.3 of 2 cores" in why[1]
    assert "signal 9" in why[2]
    assert "outputs/x/rank0.log" in why[2]
    over = tables.set_apart(
        study(models=["mlp"], scalings=["weak"], oversubscribed=where(framework="tf", world_size=2))
    )
    assert over is not None and len(over.rows) == 5
    assert (over.rows[0][3].text, over.rows[0][5].text) == (
        "oversubscribed",
        "4 threads on 2 cores of here",
    )
    assert "step 2 of epoch 1 on rank 0" in why[3]
    told["runs"] = [
        run for run in told["runs"] if not where(framework="paddle", repeat=4, world_size=1)(run)
    ]
    (group,) = groups(cells(told))
    verified = [str(row[-1]) for row in main(group, []).rows[:3]]
    assert verified == [
        "4 of 5 (1 unverified: trajectory)",
        "5 of 5 (1 too noisy)",
        "3 of 5 (1 diverged, 1 failed)",
    ]


def test_cells_without_a_majority_of_runs_are_listed_and_not_in_the_main_table() -> None:
    told = study(models=["mlp"], scalings=["weak"], unverified=where(framework="tf"))
    found = cells(told)
    table = tables.not_ranked(found)
    assert table is not None
    assert [row[0].text for row in table.rows] == [
        "tf graph, 1 CPU worker",
        "tf graph, 2 CPU workers",
    ]
    assert table.rows[0][2].text == "0 of 5"
    (group,) = groups(found)
    assert "tf graph" not in {row[0].text for row in main(group, []).rows}


def test_where_all_is_well_nothing_is_set_apart() -> None:
    good = study(models=["mlp"])
    assert tables.set_apart(good) is None
    assert tables.not_ranked(cells(good)) is None


def test_loads_tell_the_range_over_a_cell_s_runs() -> None:
    told = study(
        models=["mlp"], scalings=["weak"], world_sizes=[1], noisy=where(framework="tf", repeat=1)
    )
    table = tables.loads(cells(told))
    assert table is not None
    assert [value.text for value in table.rows[1][2:]] == ["2", "1.00", "0.05 to 1.30", "0.2%", "1"]
    assert tables.loads(cells(study(models=["mlp"], values={"load": None}))) is None

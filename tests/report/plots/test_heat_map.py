from colours import contrast
from plotted import axes_of, names
from studies import RATES, study, together, where

from distlab.report.figures.cell import Cell
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.figures.groups import groups
from distlab.report.plots.heat_map import DEEP_FROM, ON_DEEP, ON_LIGHT, SHADES, heat_map
from distlab.report.plots.style import Chart


def drawn(found: list[Cell]) -> Chart | None:
    return heat_map(groups(found), compare(found))


def test_each_condition_is_a_row_of_shares_of_the_highest_mean_of_its_setting() -> None:
    found = cells(
        study(models=["mlp"], scalings=["weak", "strong"], noisy=where(framework="tf"), repeats=3)
    )
    chart = drawn(found)
    axes = axes_of(chart)
    assert names(axes) == [group.title for group in groups(found)]
    shown = [text.get_text() for text in axes.texts]
    # tf is ranked nowhere, so it has no column: two frameworks with one worker and with two.
    assert [text for text in shown if "worker" in text] == ["1 worker", "2 workers"]
    shares = [text for text in shown if "worker" not in text]
    assert len(shares) == 8 and sum("1.00" in text for text in shares) == 4


def test_a_dot_marks_who_is_told_to_be_the_fastest_and_the_text_counts_them() -> None:
    two = {"models": ["mlp"], "scalings": ["weak"], "frameworks": ["torch", "tf"]}
    equal = {"tf": RATES["mlp", "tf"] / RATES["mlp", "torch"]}
    told = study(**two, world_sizes=[1])
    close = study(**two, world_sizes=[1], batch_size=32, slower=equal)
    chart = drawn(cells(together(told, close)))
    dots = [text.get_text() for text in axes_of(chart).texts if "●" in text.get_text()]
    assert dots == ["● 1.00"]
    assert chart is not None
    assert chart.says == "Of 2 settings tf graph is told to be the fastest in 1, in 1 none is."


def test_many_columns_become_rows_of_each_number_of_workers() -> None:
    found = cells(study(models=["mlp"], scalings=["weak"], world_sizes=[1, 2, 4, 8], repeats=1))
    rows = names(axes_of(drawn(found)))
    assert len(rows) == 4 and rows[0].endswith("1 CPU worker")


def test_a_cell_that_is_not_ranked_is_said_to_be() -> None:
    found = cells(
        study(models=["mlp"], scalings=["weak"], noisy=where(framework="tf", world_size=2))
    )
    shown = [text.get_text() for text in axes_of(drawn(found)).texts]
    assert shown.count("not ranked") == 1


def test_one_framework_alone_is_no_map() -> None:
    found = cells(study(models=["mlp"], scalings=["weak"], frameworks=["torch"], repeats=1))
    assert drawn(found) is None


def test_figures_are_legible_on_every_shade() -> None:
    for place, shade in enumerate(SHADES):
        assert contrast(ON_DEEP if place >= DEEP_FROM else ON_LIGHT, shade) >= 4.5, shade

from plotted import axes_of, names
from studies import study, where

from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups
from distlab.report.plots.heat_map import heat_map


def test_each_setting_is_a_row_of_shares_of_its_highest_mean() -> None:
    found = cells(
        study(models=["mlp"], scalings=["weak", "strong"], noisy=where(framework="tf"), repeats=3)
    )
    chart = heat_map(groups(found))
    axes = axes_of(chart)
    assert len(names(axes)) == 4
    shown = [text.get_text() for text in axes.texts]
    # tf is ranked nowhere, so it has no column.
    assert len(shown) == 8 and shown.count("1.00") == 4
    assert chart is not None and chart.says.startswith("Of 4 settings ")


def test_a_cell_that_is_not_ranked_is_said_to_be() -> None:
    found = cells(
        study(models=["mlp"], scalings=["weak"], noisy=where(framework="tf", world_size=2))
    )
    shown = [text.get_text() for text in axes_of(heat_map(groups(found))).texts]
    assert shown.count("not ranked") == 1


def test_one_framework_alone_is_no_map() -> None:
    found = cells(study(models=["mlp"], scalings=["weak"], frameworks=["torch"], repeats=1))
    assert heat_map(groups(found)) is None

"""A report of a study on noise: all figures but accuracies, of which there are none."""

import pytest
from studies import study

from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups
from distlab.report.formats import markdown
from distlab.report.plots import curves
from distlab.report.plots.style import Styles

NOISE = {"test_accuracy": [None] * 3, "time_to_accuracy_s": None, "data": "synthetic:1a2b3c4d"}


def test_no_accuracy_and_no_time_to_one_is_told() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=3, values=NOISE)
    found = cells(told)
    assert {(cell.accuracy_mean, cell.time_to_accuracy_s, cell.reached) for cell in found} == {
        (None, None, 0)
    }
    (group,) = groups(found)
    assert curves.accuracy(group, Styles(found)) is None
    text = markdown.summary(told)
    assert "samples/s" in text and "synthetic:1a2b3c4d" in text
    for word in ("test accuracy", "s to 97%", "not reached"):
        assert word not in text


@pytest.mark.slow
def test_the_whole_report_is_made() -> None:
    from distlab.report.contents import contents
    from distlab.report.figures.comparisons import compare
    from distlab.report.plots import render

    told = study(models=["mlp"], repeats=3, values=NOISE)
    found = cells(told)
    drawn = render.draw(groups(found), Styles(found), compare(found))
    assert not [plot for plot in drawn if "accuracy" in plot.name]
    assert "target accuracy" not in markdown.document(contents(told, found, drawn)).split("##")[1]

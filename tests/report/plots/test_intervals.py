import pytest
from plotted import axes_of, names, one_group
from studies import where

from distlab.report.figures.comparisons import compare
from distlab.report.plots import intervals


def test_each_ratio_has_its_interval_and_is_filled_where_it_is_told() -> None:
    group, _, found = one_group(world_sizes=[1], slower={"tf": 175 / 120})
    pairs = compare(found)
    assert {pair.told for pair in pairs} == {True, False}
    axes = axes_of(intervals.ratios(group, pairs))
    lines = [line for line in axes.lines if line.get_color() == "#1b1f24"]
    drawn = [list(line.get_xdata()) for line in lines[::2]]  # type: ignore[arg-type]
    assert drawn == [[pair.ratio.low, pair.ratio.high] for pair in pairs]
    assert [line.get_markerfacecolor() != "white" for line in lines[1::2]] == [
        pair.told for pair in pairs
    ]
    assert names(axes)[0] == "tf graph\n/ torch eager"
    assert axes.texts[0].get_text() == "1 CPU worker"


def test_without_intervals_there_is_no_plot_of_ratios() -> None:
    group, _, found = one_group(repeats=2)
    assert intervals.ratios(group, compare(found)) is None


def test_a_run_set_apart_is_a_cross_among_the_repeats() -> None:
    group, styles, _ = one_group(
        world_sizes=[1], frameworks=["torch"], noisy=where(framework="torch", repeat=2)
    )
    axes = axes_of(intervals.spread(group, styles))
    markers = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None"]
    assert markers == ["o", "o", "x", "o", "o"]


def test_under_three_runs_the_spread_is_that_of_epochs() -> None:
    group, styles, _ = one_group(world_sizes=[1], frameworks=["torch"], repeats=1)
    (run,) = group.cells[0].runs
    axes = axes_of(intervals.spread(group, styles))
    strokes = axes.lines[1]
    mean = sum(run["epoch_time_s"]) / len(run["epoch_time_s"])
    assert list(strokes.get_xdata())[::3] == pytest.approx(  # type: ignore[arg-type]
        [100 * (mean / seconds - 1) for seconds in run["epoch_time_s"]]
    )

import numpy as np
import pytest
from plotted import axes_of, one_group
from studies import study, together, where

from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups
from distlab.report.plots import curves
from distlab.report.plots.render import swept
from distlab.report.plots.style import Styles


def test_accuracy_is_in_percent_over_the_sum_of_windows() -> None:
    group, styles, _ = one_group(world_sizes=[1], frameworks=["torch"], repeats=1)
    (run,) = group.cells[0].runs
    axes = axes_of(curves.accuracy(group, styles))
    curve = axes.lines[0]
    assert list(curve.get_ydata()) == pytest.approx([100 * a for a in run["test_accuracy"]])  # type: ignore[arg-type]
    assert curve.get_xdata()[-1] == pytest.approx(sum(run["epoch_time_s"]))  # type: ignore[index]


def test_runs_that_stopped_after_other_evaluations_have_no_mean() -> None:
    group, styles, _ = one_group(world_sizes=[1], frameworks=["torch"], repeats=3)
    first = group.cells[0].runs[0]
    drawn = len(axes_of(curves.accuracy(group, styles)).lines)
    first.update(epoch_time_s=first["epoch_time_s"][:-1], test_accuracy=first["test_accuracy"][:-1])
    axes = axes_of(curves.accuracy(group, styles))
    assert len(axes.lines) == drawn - 1
    lengths = [len(line.get_xdata()) for line in axes.lines[:3]]  # type: ignore[arg-type]
    assert lengths[0] + 1 == lengths[1] == lengths[2]


def test_losses_are_differences_from_the_first_cell_in_a_repeat_that_counts_in_both() -> None:
    group, styles, _ = one_group(
        world_sizes=[1], frameworks=["torch", "tf"], unverified=where(framework="tf", repeat=0)
    )
    one, other = (cell.runs[1]["loss_curve"]["loss"] for cell in group.cells)
    chart = curves.losses(group, styles)
    (line,) = axes_of(chart).lines
    assert list(line.get_ydata()) == pytest.approx(np.abs(np.divide(other, one) - 1))  # type: ignore[arg-type]
    assert chart is not None
    assert f"at most {np.abs(np.divide(other, one) - 1).max():.1e}" in chart.says


def test_losses_of_runs_that_stopped_at_other_steps_are_not_compared() -> None:
    group, styles, _ = one_group(world_sizes=[1], frameworks=["torch", "tf"], repeats=1)
    one, other = (cell.runs[0] for cell in group.cells)
    assert curves.losses(group, styles) is not None
    other["loss_curve"] = {**one["loss_curve"], "step": [2 * n for n in one["loss_curve"]["step"]]}
    assert curves.losses(group, styles) is None


def test_equal_losses_stand_at_the_lower_edge_and_one_cell_alone_is_no_chart() -> None:
    curve = {"step": [1, 2], "loss": [2.0, 1.0]}
    group, styles, _ = one_group(
        world_sizes=[1], frameworks=["torch", "tf"], values={"loss_curve": curve}
    )
    (line,) = axes_of(curves.losses(group, styles)).lines
    assert list(line.get_ydata()) == [curves.LEAST_DIFFERENCE] * 2  # type: ignore[arg-type]
    group, styles, _ = one_group(world_sizes=[1, 2], frameworks=["torch"])
    assert curves.losses(group, styles) is None


def test_three_values_of_an_option_are_a_curve_and_two_are_none() -> None:
    def of(*batches: int) -> list[tuple[str, list[float]]]:
        told = together(
            *(
                study(models=["mlp"], scalings=["weak"], repeats=3, batch_size=batch)
                for batch in batches
            )
        )
        found = cells(told)
        styles = Styles(found)
        drawn = []
        for option, values, members in swept(groups(found)):
            axes = axes_of(curves.sweep(option, values, members, styles))
            drawn.append((option, list(axes.lines[0].get_xdata())))  # type: ignore[arg-type]
        return drawn

    assert of(32, 64) == []
    assert of(64, 16, 32) == [("batch_size", [16.0, 32.0, 64.0])]

import pytest
from plotted import axes_of, error_bars, names, one_group

from distlab.report.plots import bars


def widths(axes: object) -> list[float]:
    return [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]


def test_bars_are_means_from_zero() -> None:
    group, styles, found = one_group()
    axes = axes_of(bars.throughput(group, styles))
    assert axes.get_xlim()[0] == 0
    assert widths(axes) == [cell.throughput.value for cell in found if cell.throughput]
    assert names(axes) == 2 * ["torch eager", "tf graph", "paddle eager"]


def test_intervals_are_drawn_where_there_are_any_and_promised_nowhere_else() -> None:
    group, styles, found = one_group()
    axes = axes_of(bars.throughput(group, styles))
    assert error_bars(axes) == [
        (pytest.approx(cell.throughput.low), pytest.approx(cell.throughput.high))
        for cell in found
        if cell.throughput
    ]
    assert "95% interval" in axes.get_xlabel()
    group, styles, _ = one_group(repeats=1)
    axes = axes_of(bars.throughput(group, styles))
    assert error_bars(axes) == []
    assert "no interval" in axes.get_xlabel()


def test_a_chart_says_what_is_read_from_it() -> None:
    group, styles, _ = one_group(world_sizes=[1], frameworks=["torch"], repeats=1, noise=0)
    chart = bars.throughput(group, styles)
    assert chart is not None
    assert chart.says == "Samples/s: torch eager, 1 CPU worker: 108 k."


def test_scaling_is_each_cells_speed_up_beside_the_ideal_and_its_efficiency() -> None:
    group, styles, found = one_group(world_sizes=[1, 2, 4], repeats=3)
    scaled = [cell for cell in found if cell.world_size > 1]
    axes = axes_of(bars.scaling(group, styles))
    assert widths(axes) == [cell.speedup.value for cell in scaled if cell.speedup]
    ideals = [line.get_xdata()[0] for line in axes.lines if line.get_linewidth() == 1.6]  # type: ignore[index]
    assert ideals == [cell.world_size for cell in scaled]
    labels = [text.get_text() for text in axes.texts if "%" in text.get_text()]
    assert labels == [
        f"{cell.speedup.value:.2f} ({cell.efficiency.value:.0%})"
        for cell in scaled
        if cell.speedup and cell.efficiency
    ]


def test_the_parts_of_a_step_add_up_to_it() -> None:
    _, _, found = one_group(repeats=3)
    for cell in found:
        parts = bars.step_parts(cell)
        assert parts is not None and parts.arithmetic is not None
        assert cell.epoch_time_s and cell.model_flop_utilisation
        step = 1e3 * cell.epoch_time_s.value / cell.counted[0]["steps_per_epoch"]
        assert parts.arithmetic + (parts.exchange or 0) + parts.rest == pytest.approx(step)
        assert parts.arithmetic == pytest.approx(step * cell.model_flop_utilisation.value)
        assert bool(parts.exchange) == (cell.world_size > 1)


def test_an_exchange_that_is_not_told_from_0_is_no_part_of_its_own() -> None:
    group, styles, found = one_group(repeats=3, values={"communication_share": -0.1})
    parts = [bars.step_parts(cell) for cell in found]
    assert {part.exchange for part in parts if part is not None} == {0.0}
    chart = bars.step_time(group, styles)
    assert chart is not None and "exchange not told from 0" in chart.says


def test_a_step_of_seconds_is_told_in_milliseconds_without_k() -> None:
    group, styles, (cell,) = one_group(
        world_sizes=[1], frameworks=["torch"], values={"steps_per_epoch": 0.25}
    )
    chart = bars.step_time(group, styles)
    assert chart is not None and cell.epoch_time_s
    assert f"1 CPU worker: {4e3 * cell.epoch_time_s.value:,.0f} ms, arithmetic" in chart.says


def test_a_part_that_is_not_known_is_not_made_up() -> None:
    _, _, (cell,) = one_group(
        world_sizes=[1],
        frameworks=["torch"],
        values={"matrix_product_flops_per_s": None, "communication_share": None},
    )
    assert bars.step_parts(cell) is None

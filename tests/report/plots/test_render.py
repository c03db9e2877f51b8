import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from studies import study, where

from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups
from distlab.report.plots import render
from distlab.report.plots.render import Plot
from distlab.report.plots.style import KNOWN_COLOURS, Styles

pytestmark = pytest.mark.slow


def drawn(**options: Any) -> dict[str, Plot]:
    found = cells(study(**{"models": ["mlp"], "scalings": ["weak"], **options}))
    return {plot.name: plot for plot in render.draw(groups(found), Styles(found))}


@pytest.fixture(scope="module")
def two_groups() -> dict[str, Plot]:
    return drawn(scalings=["weak", "strong"])


def test_each_kind_is_drawn_for_each_group(two_groups: dict[str, Plot]) -> None:
    assert list(two_groups) == [
        f"{kind}-mlp-{scaling}-64" for kind in render.KINDS for scaling in ("weak", "strong")
    ]


def test_plots_share_no_id_so_that_a_page_may_hold_them_all(two_groups: dict[str, Plot]) -> None:
    ids = [i for plot in two_groups.values() for i in re.findall(r'\bid="([^"]*)"', plot.svg)]
    assert ids
    assert len(ids) == len(set(ids))
    for plot in two_groups.values():
        own = set(re.findall(r'\bid="([^"]*)"', plot.svg))
        assert set(re.findall(r'(?:href="|url\()#([^")]*)', plot.svg)) <= own


def test_a_plot_is_well_formed_and_names_no_other_place(two_groups: dict[str, Plot]) -> None:
    for plot in two_groups.values():
        assert ET.fromstring(plot.svg).tag.endswith("svg")
        assert not re.search(r'href="(?!#)', plot.svg)
        assert plot.png.startswith(b"\x89PNG")


def test_drawing_again_gives_the_same(two_groups: dict[str, Plot]) -> None:
    again = drawn(scalings=["weak", "strong"])
    assert {name: plot.svg for name, plot in again.items()} == {
        name: plot.svg for name, plot in two_groups.items()
    }


def test_a_framework_has_its_colour_in_every_plot(two_groups: dict[str, Plot]) -> None:
    for plot in two_groups.values():
        for colour in KNOWN_COLOURS.values():
            assert colour.lower() in plot.svg.lower(), plot.name


def test_styles_tell_executions_and_unknown_frameworks_apart() -> None:
    runs = study(models=["mlp"], scalings=["weak"], frameworks=["torch", "tf"])["runs"]
    for run in runs:
        if run["framework"] == "tf":
            run.update(framework="torch", execution="graph")
    other = study(models=["mlp"], scalings=["weak"], frameworks=["paddle"])["runs"]
    for run in other:
        run.update(framework="jax")
    found = cells({"runs": runs + other})
    styles = Styles(found)
    looks = {(cell.framework, cell.execution): styles.of(cell) for cell in found}
    eager, graph = looks["torch", "eager"], looks["torch", "graph"]
    assert eager.colour == graph.colour == KNOWN_COLOURS["torch"]
    assert eager.filled
    assert not graph.filled
    assert looks["jax", "eager"].colour not in KNOWN_COLOURS.values()
    assert looks["jax", "eager"].marker != eager.marker
    assert len(render.draw(groups(found), styles)) == len(render.KINDS)


def test_one_run_of_one_cell_is_enough_for_all_but_scaling() -> None:
    found = drawn(repeats=1, frameworks=["torch"], world_sizes=[1])
    assert [plot.kind for plot in found.values()] == ["throughput", "loss", "accuracy", "variation"]


def test_without_baseline_or_losses_those_plots_are_left_out() -> None:
    found = drawn(world_sizes=[2], baselines="nowhere", values={"loss_curve": None})
    assert [plot.kind for plot in found.values()] == ["throughput", "accuracy", "variation"]
    stored = drawn(world_sizes=[2, 4], baselines="store", repeats=3)
    assert "scaling-mlp-weak-64" in stored


def test_what_is_not_ranked_is_not_drawn_as_a_figure() -> None:
    found = drawn(world_sizes=[1], unverified=where(framework="tf"))
    blue = KNOWN_COLOURS["tf"].lower()
    assert all(blue not in plot.svg.lower() for plot in found.values())
    assert drawn(unverified=lambda run: True) == {}


def test_runs_set_apart_are_crosses_in_the_plot_of_variation() -> None:
    quiet, noisy = (
        drawn(world_sizes=[1], noisy=where(framework=framework, repeat=2))[
            "variation-mlp-weak-64"
        ].svg
        for framework in ("none", "tf")
    )
    assert noisy != quiet
    assert "legend_1" in noisy
    assert "legend_1" not in quiet


def test_plots_are_saved_as_svg_and_png(tmp_path: Path) -> None:
    found = drawn(repeats=1, frameworks=["torch"], world_sizes=[1])
    render.save(list(found.values()), tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(
        f"{name}.{ending}" for name in found for ending in ("png", "svg")
    )
    for path in (tmp_path / "plots").glob("*.svg"):
        ET.parse(path)

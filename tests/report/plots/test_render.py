import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from colours import contrast, luminance
from studies import study, together, where

from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.figures.groups import groups
from distlab.report.plots import render
from distlab.report.plots.render import Plot
from distlab.report.plots.style import DARK, KNOWN_COLOURS, OTHER_COLOURS, Styles

pytestmark = pytest.mark.slow

OF_A_GROUP = [kind for kind, how in render.KINDS.items() if how.plotter]


def drawn(**options: Any) -> dict[str, Plot]:
    found = cells(study(**{"models": ["mlp"], "scalings": ["weak"], **options}))
    plots = render.draw(groups(found), Styles(found), compare(found))
    return {plot.name: plot for plot in plots}


@pytest.fixture(scope="module")
def two_groups() -> dict[str, Plot]:
    return drawn(scalings=["weak", "strong"])


def test_each_kind_is_drawn_for_each_group(two_groups: dict[str, Plot]) -> None:
    assert list(two_groups) == [
        f"{kind}-mlp-{scaling}-64" for kind in OF_A_GROUP for scaling in ("weak", "strong")
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
        # Ratios are of pairs; losses are differences from the first.
        without = {"ratios": set(KNOWN_COLOURS), "loss": {"torch"}}.get(plot.kind, set())
        for framework in KNOWN_COLOURS.keys() - without:
            assert KNOWN_COLOURS[framework] in plot.svg, plot.name


def test_colours_are_seen_on_light_and_dark_pages_and_differ_in_grey() -> None:
    for colour in (*KNOWN_COLOURS.values(), *OTHER_COLOURS):
        assert contrast(colour, "#ffffff") >= 3, colour
        assert contrast(DARK[colour], DARK["#ffffff"]) >= 3, colour
    greys = sorted(KNOWN_COLOURS.values(), key=luminance)
    assert all(contrast(one, other) >= 1.4 for one, other in pairwise(greys))


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
    plots = render.draw(groups(found), styles, compare(found))
    assert [plot.kind for plot in plots] == OF_A_GROUP


def test_one_run_of_one_cell_is_enough_for_all_that_compares_nothing() -> None:
    found = drawn(repeats=1, frameworks=["torch"], world_sizes=[1])
    assert [plot.kind for plot in found.values()] == ["accuracy", "throughput", "step", "spread"]


def test_without_baseline_or_losses_those_plots_are_left_out() -> None:
    found = drawn(world_sizes=[2], baselines="nowhere", values={"loss_curve": None})
    assert [plot.kind for plot in found.values()] == [
        kind for kind in OF_A_GROUP if kind not in ("scaling", "loss")
    ]
    stored = drawn(world_sizes=[2, 4], baselines="store", repeats=3)
    assert "scaling-mlp-weak-64" in stored


def test_what_is_not_ranked_is_not_drawn_as_a_figure() -> None:
    found = drawn(world_sizes=[1], unverified=where(framework="tf"))
    blue = KNOWN_COLOURS["tf"].lower()
    assert all(blue not in plot.svg.lower() for plot in found.values())
    assert drawn(unverified=lambda run: True) == {}


def test_a_large_study_is_a_map_and_not_a_plot_for_each_group() -> None:
    told = together(
        *(
            study(models=["mlp"], scalings=["weak"], repeats=1, batch_size=batch)
            for batch in range(8, 8 * (render.MOST_GROUPS + 2), 8)
        )
    )
    found = cells(told)
    plots = render.draw(groups(found), Styles(found), compare(found))
    assert [plot.name for plot in plots] == ["map-1", "sweep-batch_size-1"]


def test_plots_are_saved_as_svg_and_png(tmp_path: Path) -> None:
    found = drawn(repeats=1, frameworks=["torch"], world_sizes=[1])
    render.save(list(found.values()), tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(
        f"{name}.{ending}" for name in found for ending in ("png", "svg")
    )
    for path in (tmp_path / "plots").glob("*.svg"):
        ET.parse(path)


def test_what_is_not_ranked_is_named_below_the_plots_that_leave_it_out() -> None:
    lost = "torch eager, 2 CPU workers (5 oversubscribed)"
    plots = drawn(oversubscribed=where(framework="torch", world_size=2))
    without = [name for name, plot in plots.items() if lost not in plot.description]
    assert without == []
    svg = plots["throughput-mlp-weak-64"].svg
    assert "Left out, not ranked: torch eager, 2 CPU workers" in re.sub(r"<[^>]*>|\s+", " ", svg)
    some = drawn(world_sizes=[1], oversubscribed=where(framework="torch", repeat=(0, 1, 2)))
    assert "Left out" in some["throughput-mlp-weak-64"].description
    assert "Left out" not in some["spread-mlp-weak-64"].description, "crosses are in it"

"""All forms of a report draw from the same findings: what one tells, none denies or outdoes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from studies import study, together, where

from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare, ratio_text
from distlab.report.figures.groups import groups
from distlab.report.formats import files, markdown, terminal
from distlab.report.plots import intervals
from distlab.report.publish import figures
from distlab.report.sections.classroom.scorecard import scorecard
from distlab.report.sections.verdict import settings
from distlab.report.sections.what_if.overtaking import overtakings

pytestmark = pytest.mark.slow

ONE = {"models": ["mlp"], "scalings": ["weak"]}
KINDS: dict[str, dict[str, Any]] = {
    "one run": study(**ONE, repeats=1),
    "three": study(**ONE, repeats=3),
    "equal frameworks": study(**ONE, slower={"tf": 175 / 108, "paddle": 120 / 108}, repeats=5),
    "noisy": study(**ONE, noisy=where(framework="tf")),
    "oversubscribed": study(**ONE, oversubscribed=where(world_size=2)),
    "unverified": study(**ONE, unverified=where(framework="torch")),
    "failed": study(**ONE, failed=where(framework="paddle", world_size=2)),
    "one framework": study(**ONE, frameworks=["torch"]),
    "nothing": study(**ONE, failed=lambda run: True, repeats=1),
    "sixty cells": together(
        *(study(scalings=["weak"], repeats=3, batch_size=b) for b in (16, 32, 64, 128, 256))
    ),
}


@pytest.fixture(params=KINDS)
def told(request: pytest.FixtureRequest) -> dict[str, Any]:
    return KINDS[request.param]


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\\", ""))


def test_every_form_says_the_same_of_who_is_fastest(told: dict[str, Any], tmp_path: Path) -> None:
    report = contents(told, cells(told), [])
    page = files.write(told, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    console = Console(record=True, width=400, file=(tmp_path / "terminal").open("w"))
    terminal.show(told, page, console)
    assert data["verdict"]["headline"] == report.headline
    forms = [
        page.read_text(),
        (tmp_path / "report.md").read_text(),
        markdown.summary(told),
        console.export_text(),
    ]
    for form in forms:
        assert plain(report.headline) in plain(form)
    for form in forms[2:]:
        # Of pairs without any interval the two short forms say nothing, of many a part.
        for sentence in report.sentences if report.note and len(report.sentences) <= 8 else []:
            assert plain(sentence) in plain(form)
    assert data["comparisons"] == report.sentences


def test_rows_that_stand_out_are_those_that_the_headline_counts(told: dict[str, Any]) -> None:
    report = contents(told, cells(told), [])
    best = [
        row[0].text for table in report.main for n, row in enumerate(table.rows) if n in table.best
    ]
    for name in set(best):
        counted = best.count(name)
        said = re.search(rf"{re.escape(name)}(?: is the fastest)? in (\d+)", report.headline)
        if said is None:
            assert report.headline.startswith(f"{name} is the fastest: ") and counted == 1
        else:
            assert int(said[1]) == counted
    if not best:
        assert "is the fastest" not in report.headline


def test_the_scorecard_ranks_nobody_whom_no_comparison_tells(told: dict[str, Any]) -> None:
    found = cells(told)
    comparisons = compare(found)
    beaten = {pair.slower.framework for pair in comparisons if pair.told}
    for score in scorecard(found, comparisons):
        if score.relative_speed is not None and score.relative_speed < 1:
            assert score.framework in beaten


def test_the_plot_of_ratios_fills_what_the_sentences_tell(told: dict[str, Any]) -> None:
    found = cells(told)
    comparisons = compare(found)
    for group in groups(found):
        chart = intervals.ratios(group, comparisons)
        if chart is None:
            continue
        members = {cell.cell for cell in group.cells}
        own = [p for p in comparisons if p.faster.cell in members and p.ratio.low is not None]
        filled = [
            line.get_markerfacecolor() != "white"
            for line in chart.figure.axes[0].lines
            if line.get_marker() == "s"
        ]
        assert filled == [pair.told for pair in own][: len(filled)]
        assert all(
            (" times as fast as " in pair.sentence) == pair.told
            for pair in comparisons
            if pair.faster.cell in members
        )


def test_a_fastest_is_told_to_be_faster_than_each_other(told: dict[str, Any]) -> None:
    found = cells(told)
    comparisons = compare(found)
    wins = {(pair.faster.cell, pair.slower.cell) for pair in comparisons if pair.told}
    for setting in settings(groups(found), comparisons):
        if setting.fastest is not None:
            others = [cell for cell in setting.cells if cell is not setting.fastest]
            assert others and all((setting.fastest.cell, one.cell) in wins for one in others)


def test_a_ratio_has_the_same_digits_in_tables_sentences_and_plots(told: dict[str, Any]) -> None:
    found = cells(told)
    comparisons = compare(found)
    report = contents(told, found, [])
    tabled = {
        (row[0].text, row[1].text, row[3].text, row[4].text)
        for table in report.ratios
        for row in table.rows
    }
    for pair in comparisons if len(comparisons) < 60 else []:
        shown = ratio_text(pair.ratio, pair.ratio.value)
        told_ = "yes" if pair.told else "no"
        assert (pair.faster.name, pair.slower.name, shown, told_) in tabled
        assert shown in pair.sentence
    for group in groups(found):
        members = {cell.cell for cell in group.cells}
        chart = intervals.ratios(group, comparisons)
        own = [p for p in comparisons if p.faster.cell in members and p.ratio.low is not None]
        if chart is not None and len(own) < 40:
            assert all(ratio_text(p.ratio, p.ratio.value) in chart.says for p in own)


def test_the_lead_that_the_headline_gives_is_one_of_the_table_of_ratios(
    told: dict[str, Any],
) -> None:
    report = contents(told, cells(told), [])
    lead = re.search(
        r": ([\d.]+)(?: to ([\d.]+))? times the samples/s of the next", report.headline
    )
    if lead is None:
        return
    ratios = {row[3].text for table in report.ratios for row in table.rows if row[4].text == "yes"}
    assert {value for value in lead.groups() if value} <= ratios


def test_utilisation_orders_frameworks_as_their_throughput_does(told: dict[str, Any]) -> None:
    for group in groups(cells(told)):
        for size in group.world_sizes:
            known = [
                (cell.throughput.value, cell.model_flop_utilisation.value)
                for cell in group.ranked
                if cell.world_size == size and cell.throughput and cell.model_flop_utilisation
            ]
            assert len({round(use / rate, 15) for rate, use in known}) <= 1


def test_a_later_start_is_made_up_for_by_those_alone_who_are_told_to_be_faster(
    told: dict[str, Any],
) -> None:
    comparisons = compare(cells(told))
    wins = {(pair.faster.cell, pair.slower.cell) for pair in comparisons if pair.told}
    assert {(o.faster.cell, o.sooner.cell) for o in overtakings(comparisons)} <= wins


def test_the_metrics_of_mlflow_are_the_figures_of_the_table(told: dict[str, Any]) -> None:
    counted = [cell for cell in cells(told) if cell.throughput is not None]
    sent = [value for name, value, _ in figures(told) if re.fullmatch(r"throughput/[^/]+/.*", name)]
    wanted = [
        value
        for cell in counted
        if cell.throughput
        for value in (cell.throughput.value, cell.throughput.low, cell.throughput.high)
        if value is not None
    ]
    assert sorted(sent) == sorted(wanted)


def test_the_legend_promises_intervals_where_there_are_any(told: dict[str, Any]) -> None:
    found = cells(told)
    any_interval = any(c.throughput is not None and c.throughput.low is not None for c in found)
    assert ("95% intervals" in contents(told, found, []).legend) == any_interval

import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from studies import classroom, study, together, where

from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.figures.groups import groups
from distlab.report.formats import html
from distlab.report.plots import render
from distlab.report.plots.style import Styles
from distlab.report.sections.what_if.job_time import JobTime

pytestmark = pytest.mark.slow

OF_A_GROUP = [kind for kind, how in render.KINDS.items() if how.plotter]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Collects text and attributes, and fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open}:
            self.text.append(data)


def page(told: dict[str, Any], *, drawn: bool = True) -> tuple[str, Reader]:
    found = cells(told)
    styles = Styles(found)
    made = render.draw(groups(found), styles, compare(found)) if drawn else []
    text = html.page(contents(told, found, made), found, styles, {"cells.csv": "a,b\r\n"})
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader


def test_the_page_needs_no_network_and_no_script_but_one_that_its_policy_knows() -> None:
    text, reader = page(study(models=["mlp"], scalings=["weak"], repeats=3))
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2 and json.loads(scripts[0])
    known = b64encode(sha256(scripts[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{known}';" in text
    assert "innerHTML" not in scripts[1] and "fetch" not in scripts[1]
    # Without a script the table is all there is.
    assert '<form id="what-if" hidden>' in text
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    fetched = [(tag, name, value) for tag, name, value in reader.attributes if name == "src"]
    assert fetched == []
    assert [v for tag, name, v in reader.attributes if (tag, name) == ("link", "href")] == [
        "data:,"
    ]


def test_the_calculator_reads_the_figures_of_the_rows_in_their_order() -> None:
    told = study(models=["mlp"], repeats=3, epochs=3)
    text, _ = page(told, drawn=False)
    found = re.search(r'id="jobs-data">(.*?)</script>', text)
    assert found is not None
    read = [JobTime(*row) for row in json.loads(found[1])]
    tables = contents(told, cells(told), []).job_times
    assert tables is not None
    shown = [[value.text for value in row[2:]] for table in tables.tables for row in table.rows]
    assert len(read) == len(shown) == 12
    for job, row in zip(read, shown, strict=True):
        for epochs, value in zip((1, 10, 100, 1000), row, strict=True):
            figure = float(value.removeprefix("~").replace(",", ""))
            assert job.seconds(epochs) == pytest.approx(figure, rel=0.05)
            assert job.far(epochs) == value.startswith("~")


def test_the_page_has_its_parts_in_order() -> None:
    text, _ = page(classroom(repeats=3))
    parts = ["figures", "plots", "ratios", "jobs", "classroom", "scorecard"]
    parts += ["conditions", "method", "data"]
    assert re.findall(r'<section id="(\w+)"', text) == parts
    contents_list = text[text.index("<nav") : text.index("</nav>")]
    assert re.findall(r'<a href="#(\w+)"', contents_list) == parts
    # Each heading is a link to its section, to be copied.
    assert re.findall(r'<h2><a href="#(\w+)"', text) == parts


def test_every_heading_is_the_only_one_of_its_name() -> None:
    several = study(models=["mlp"], repeats=3, unverified=where(framework="tf", world_size=2))
    text, _ = page(several)
    headings = re.findall(r"<h[1-6]>(?:<a [^>]*>)?([^<]+)", text)
    assert len(headings) == len(set(headings)), headings


def test_text_from_a_study_is_escaped() -> None:
    told = study(
        models=["mlp"], scalings=["weak"], failed=where(framework="tf", repeat=0), repeats=3
    )
    told["name"] = "<script>alert(1)</script>"
    told["command"] = "python -m distlab.launch -m 'a=\"<b>\"'"
    text, reader = page(told, drawn=False)
    assert "<script>" not in text
    assert "<SIGKILL>" not in text
    shown = "".join(reader.text)
    assert "<script>alert(1)</script>" in shown
    assert "signal 9 <SIGKILL>" in shown
    assert "'a=\"<b>\"'" in shown


def test_every_plot_stands_in_the_page_with_a_name_for_who_cannot_see_it() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=3)
    text, reader = page(told)
    assert text.count("<svg ") == len(OF_A_GROUP)
    labels = [v for tag, name, v in reader.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == len(OF_A_GROUP)
    assert labels[0].startswith("Time to the target accuracy (target 97.0%): torch eager")
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def rule(text: str, selector: str) -> str:
    """What the page's style sheet says of a selector, outside of media queries."""
    found = re.findall(rf"^{re.escape(selector)} {{ (.*) }}$", text, re.MULTILINE)
    assert len(found) == 1, selector
    return str(found[0])


def test_plots_stand_side_by_side_where_there_is_room_and_one_below_another_on_a_phone() -> None:
    text, _ = page(study(models=["mlp"], scalings=["weak"], repeats=3))
    columns = "grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr))"
    assert columns in rule(text, ".kinds, .plots")
    assert text.count('<div class="kinds">') == 1
    # A kind with one plot is a column of its own; one with several has a row, and columns in it.
    assert len(re.findall(r'<div class="kind" id="plot-', text)) == len(OF_A_GROUP)
    text, _ = page(study(models=["mlp"], repeats=1))
    assert "grid-column: 1 / -1" in rule(text, ".kind.many, .kind.wide")
    assert '<div class="kind"' not in text
    assert '<div class="kind many"' in text


def test_no_table_is_wider_than_a_screen_has_room_for() -> None:
    text, reader = page(classroom(repeats=2), drawn=False)
    assert "white-space: nowrap" in rule(text, "th, td")
    # What may be wrapped, so that a column is no wider than its figures.
    assert "white-space: normal" in rule(text, "thead th")
    assert "white-space: pre-line" in rule(text, "td small, th small")
    assert "white-space: normal" in rule(text, ".prose")
    # Where that is still too wide, the table is scrolled by itself, by mouse or by keyboard.
    assert "overflow-x: auto" in rule(text, ".scroll")
    scrolled = [value for tag, name, value in reader.attributes if (tag, name) == ("div", "role")]
    assert scrolled == ["region"] * text.count("<table>")
    assert text.count('tabindex="0" role="region" aria-label="') == text.count("<table>")


def test_the_fastest_row_stands_out_and_no_other() -> None:
    text, _ = page(study(models=["mlp"], scalings=["weak"], world_sizes=[1]), drawn=False)
    figures = text[text.index('id="figures"') : text.index('id="ratios"')]
    rows = re.findall(r'<tr( class="[^"]*")?>(.*?)</tr>', figures, re.DOTALL)[1:]
    assert ["best" in kind for kind, _ in rows] == [False, True, False]
    # In words, too, and not by colour alone.
    assert ["<strong>fastest</strong>" in row for _, row in rows] == [False, True, False]
    assert "tf graph" in rows[1][1]


def test_runs_set_apart_are_shown_apart() -> None:
    told = study(models=["mlp"], scalings=["weak"], unverified=where(framework="tf"), repeats=3)
    _, reader = page(told, drawn=False)
    shown = " ".join("".join(reader.text).split())
    assert "Set apart, and not ranked" in shown
    assert "Cells that are not ranked" in shown
    assert "trajectory: relative error 3.1e-02 at step 4 <of 10>" in shown


def test_a_study_without_a_run_that_counts_still_has_its_page() -> None:
    for told in (
        study(models=["mlp"], unverified=lambda run: True, repeats=1),
        study(models=["mlp"], failed=lambda run: True, repeats=1),
    ):
        _, reader = page(told)
        assert "nothing is ranked" in "".join(reader.text)


def test_one_run_has_no_interval() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=1, frameworks=["torch"])
    _, reader = page(told)
    assert "1 run, no interval" in "".join(reader.text)


def test_the_browser_is_told_to_run_and_fetch_nothing() -> None:
    _, reader = page(study(models=["mlp"], scalings=["weak"], repeats=1), drawn=False)
    policies = [v for tag, name, v in reader.attributes if (tag, name) == ("meta", "content")]
    (policy,) = [value for value in policies if "default-src" in value]
    assert "default-src 'none'" in policy
    assert re.findall(r"script-src ([^;]*);", policy)[0].startswith("'sha256-")


def test_names_from_a_study_are_no_markup_in_plots() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=3)
    for run in told["runs"]:
        run["model"] = '"><script>alert(1)</script><g id="'
        run["framework"] += "$\\frac$<b>"
    text, _ = page(told)
    assert text.count("<script") == 2 and "<script>" not in text and "<b>" not in text
    assert text.count("<svg ") == len(OF_A_GROUP)


def test_the_page_holds_its_data_to_be_saved() -> None:
    _, reader = page(study(models=["mlp"], scalings=["weak"], repeats=1), drawn=False)
    links = [v for tag, name, v in reader.attributes if (tag, name) == ("a", "href")]
    (address,) = [link for link in links if link.startswith("data:")]
    assert address.startswith("data:application/octet-stream;base64,")
    assert b64decode(address.partition(",")[2]) == b"a,b\r\n"
    assert ("a", "download", "cells.csv") in reader.attributes


def test_the_first_screen_says_what_for_and_what_next_in_a_command_to_copy() -> None:
    text, _ = page(study(models=["mlp"], scalings=["weak"], repeats=1), drawn=False)
    first = text[: text.index("<nav")]
    assert "It says nothing of GPUs" in first
    assert re.search(r'<pre class="copy"><code>python -m distlab.launch study=\w+ repeats=5', first)


def test_a_large_study_is_folded() -> None:
    many = [study(models=["mlp"], repeats=1, batch_size=batch) for batch in (8, 16, 32, 64, 128)]
    text, _ = page(together(*many), drawn=False)
    tables = len(groups(cells(together(*many))))
    assert text.count(f"<summary>Show {tables} tables</summary>") == 3
    few, _ = page(many[0], drawn=False)
    assert "tables</summary>" not in few


def test_a_large_study_shows_its_pattern_before_any_table() -> None:
    many = [
        study(models=["mlp"], scalings=["weak"], world_sizes=[1], repeats=1, batch_size=batch)
        for batch in range(8, 80, 8)
    ]
    text, _ = page(together(*many))
    assert text.index('id="plot-map"') < text.index("<table>")
    assert text.index('id="plot-map"') < text.index('id="plots"')

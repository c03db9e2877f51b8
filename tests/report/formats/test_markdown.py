import re

from studies import classroom, study, together, where

from distlab.report.contents import contents
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.figures.groups import groups
from distlab.report.formats import markdown
from distlab.report.plots import render
from distlab.report.plots.style import Styles
from distlab.report.sections.tables import Table, Value


def test_a_table_has_a_row_of_as_many_fields_for_each() -> None:
    table = Table(
        "title",
        ["name", "value"],
        [[Value("a|b", "x\ny")], [Value("c"), Value("1", links=("https://example.org/a_b",))]],
        wordy=frozenset({"name"}),
        best=frozenset({1}),
    )
    table.rows[0].append(Value("2"))
    assert markdown.table(table).splitlines() == [
        "| name | value |",
        "| --- | ---: |",
        r"| a\|b (x; y) | 2 |",
        "| **c** | **1** <https://example.org/a_b> |",
    ]
    assert markdown.table(table, ["value"]).splitlines()[0] == "| value |"


def test_text_is_one_line_without_markup() -> None:
    assert markdown.escaped("a\n# <b> *c* _d_ [e](f)") == r"a \# \<b\> \*c\* \_d\_ \[e\](f)"


def test_the_document_has_the_parts_of_the_report() -> None:
    told = classroom(repeats=3, failed=where(framework="tf", repeat=0))
    found = cells(told)
    drawn = render.draw(groups(found), Styles(found), compare(found))
    text = markdown.document(contents(told, found, drawn))
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Figures",
        "Plots",
        "Framework against framework",
        "What a job takes",
        "The classroom study, then and now",
        "Scorecard",
        "Conditions",
        "How the figures were made",
        "Citation",
    ]
    assert "### Set apart, and not ranked" in text
    for plot in drawn:
        assert f"(plots/{plot.name}.png)" in text


def test_the_note_has_the_verdict_the_main_figures_and_the_sentences() -> None:
    text = markdown.summary(study(models=["mlp"], scalings=["weak"]))
    assert "settings" in text.splitlines()[0] or "fastest" in text.splitlines()[0]
    assert "| framework | workers | s to 97% | samples/s | speed-up | test accuracy |" in text
    assert re.search(
        r"^- tf trains mlp 1\.\d+ times as fast as torch on 1 CPU worker; 95% CI", text, re.M
    )
    assert len(text) < 8000


def test_the_note_of_a_large_study_keeps_its_link_within_what_mlflow_keeps() -> None:
    many = [study(batch_size=batch, repeats=3) for batch in range(8, 80, 8)]
    link = "[The whole report](#there)"
    text = markdown.summary(together(*many), link)
    assert text.splitlines()[0].startswith("**") and text.splitlines()[2] == link
    assert len(text) < 8000
    assert "The report has 33 more tables." in text

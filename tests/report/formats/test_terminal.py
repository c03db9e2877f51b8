from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from studies import study, together, where

from distlab.report.formats.terminal import show


def shown(width: int, told: dict[str, Any] | None = None) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    told = told or study(models=["mlp"], scalings=["weak"], noisy=where(framework="tf", repeat=1))
    show(told, Path("reports/x/report.html"), console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_terminal_of_80_columns_holds_the_figures_uncut() -> None:
    text = shown(80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "1 too noisy" in text
    assert "test accuracy" not in text


def test_the_time_to_the_target_is_shown_where_there_is_room() -> None:
    assert "s to 97%" in shown(80, study(models=["mlp"], scalings=["weak"], repeats=1))
    assert "s to 97%" in shown(120)


def test_the_fastest_is_named_in_words_below_its_name() -> None:
    text = shown(80, study(models=["mlp"], scalings=["weak"], world_sizes=[1]))
    lines = text.splitlines()
    (at,) = [place for place, line in enumerate(lines) if line.startswith("fastest")]
    assert lines[at - 1].startswith("tf graph")


def test_single_runs_are_not_held_against_each_other_sentence_by_sentence() -> None:
    text = shown(120, study(models=["mlp"], scalings=["weak"], repeats=1))
    assert "too few repeats" not in text
    assert "Every cell has fewer than 3 runs that count" in text
    assert "Next: To tell any difference, 5 repeats" in text


def test_of_a_large_study_the_terminal_has_a_part_and_says_so() -> None:
    many = [study(models=["mlp"], batch_size=batch) for batch in (8, 16, 32)]
    text = shown(80, together(*many))
    assert "2 more tables of settings: in the report." in text
    assert "more: in the report." in text
    assert len(text.splitlines()) < 120


def test_what_was_written_is_told_once() -> None:
    text = shown(80)
    assert text.count("reports/x") == 1
    assert "wrote reports/x/report.html\nbeside it report.md, cells.csv" in text


def test_a_wider_terminal_has_more_columns() -> None:
    text = shown(120)
    assert "test accuracy" in text
    assert max(map(len, text.splitlines())) <= 120

from io import StringIO
from pathlib import Path

from rich.console import Console
from studies import study, where

from distlab.report.formats.terminal import show


def shown(width: int) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    told = study(models=["mlp"], scalings=["weak"], noisy=where(framework="tf", repeat=1))
    show(told, Path("reports/x/report.html"), console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_terminal_of_80_columns_holds_the_figures_uncut() -> None:
    text = shown(80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "1 too noisy" in text
    assert "test accuracy" not in text


def test_a_wider_terminal_has_more_columns() -> None:
    text = shown(120)
    assert "test accuracy" in text
    assert max(map(len, text.splitlines())) <= 120

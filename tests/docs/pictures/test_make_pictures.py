import os
import sys
from pathlib import Path

import make_pictures
import pytest
from studies import study


def test_what_was_written_over_is_gone_and_colours_stay() -> None:
    output = (
        "study 17\r\n"
        "\x1b[?25l\x1b[32m-\x1b[0m starting\r\x1b[2K\x1b[32m|\x1b[0m starting\r\n"
        "\x1b[?25h\r\x1b[1A\x1b[2K[1/1] torch: \x1b[1m9 samples/s\x1b[0m\r\n"
        "10 %\r20 %\r\n\r\n"
    )
    shown = "study 17\n[1/1] torch: \x1b[1m9 samples/s\x1b[0m\n20 %"
    assert make_pictures.settled(output) == shown


def test_the_terminal_is_text_that_fetches_nothing_and_breaks_at_its_edge() -> None:
    svg = make_pictures.terminal("a" * 70 + " bc" + "d" * 20)
    assert "url(http" not in svg
    assert "@font-face" not in svg
    assert f"{'a' * 70}&#160;bc{'d' * 7}<" in svg
    assert f">{'d' * 13}<" in svg


def test_the_caption_says_when_and_on_what_and_how_many_runs_count() -> None:
    told = study(models=["mlp"], scalings=["weak"], world_sizes=[1], repeats=1)
    told["runs"][0]["verified"] = False
    caption = make_pictures.conditions(told, "python -m distlab.launch -m")
    assert "2026-03-02: AMD EPYC 7B13, 2 cores, Python 3.11.9, torch 2.13.0, tf" in caption
    assert "mlp on mnist by `python -m distlab.launch -m`, of whose 3 runs 2 count." in caption


def test_the_readme_has_a_place_for_the_caption() -> None:
    readme = make_pictures.README.read_text()
    once = make_pictures.captioned(readme, "On a Monday.")
    assert "<!-- conditions -->\nOn a Monday.\n<!-- end of conditions -->" in once
    assert make_pictures.captioned(once, "On a Friday.") == once.replace("Monday", "Friday")
    with pytest.raises(SystemExit, match="no place"):
        make_pictures.captioned("", "On a Monday.")


def test_without_a_browser_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    monkeypatch.setattr(make_pictures, "record", lambda *_: pytest.fail("ran the command"))
    with pytest.raises(SystemExit, match="needs Chromium or Chrome"):
        make_pictures.main(["-m", "distlab.launch"])


def test_a_command_is_recorded_on_a_terminal_and_its_failure_is_told(tmp_path: Path) -> None:
    size = "import os; print(*os.get_terminal_size(), os.getcwd())"
    shown = make_pictures.record([sys.executable, "-c", size], tmp_path)
    assert shown == f"80 40 {os.path.realpath(tmp_path)}\r\n"
    with pytest.raises(SystemExit, match=r"ended with 3:\nwhy"):
        make_pictures.record([sys.executable, "-c", "print('why'); exit(3)"], tmp_path)

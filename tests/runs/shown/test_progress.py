import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from summaries import summary

from distlab.outcome.evaluations.epoch import Epoch
from distlab.outcome.events import Progress
from distlab.runs.shown.progress import Display


def display(terminal: bool = False, brief: bool = False) -> tuple[Display, StringIO]:
    file = StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, highlight=False)
    return Display(console, brief), file


def epoch(index: int) -> Epoch:
    return Epoch(
        index=index,
        seconds=2.5,
        throughput=23_456.7,
        step_time_ms={"mean": 1.0, "p50": None},
        losses=np.array([0.5, 0.25]),
        test_accuracy=0.9125,
        test_loss=0.3,
        evaluated=1000,
    )


def test_a_pipe_gets_one_plain_line_for_each_epoch() -> None:
    one, file = display()
    with one:
        one.waiting("starting Ray")
        one.begin(epochs=2, steps_per_epoch=30, samples_per_step=64)
        one.position(Progress(0, 0, 10, 1.0, 0.7))
        one.epoch(epoch(0))
        one.epoch(epoch(1))
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"epoch {number}/2 +2\.50 s +23,457 samples/s +loss 0\.3750 +accuracy 91\.25%", line
        )
    assert "\x1b" not in file.getvalue() and "\r" not in file.getvalue()


def test_numbers_of_epochs_are_aligned() -> None:
    one, file = display()
    with one:
        one.begin(epochs=10, steps_per_epoch=30, samples_per_step=64)
        one.epoch(epoch(0))
        one.epoch(epoch(9))
    first, last = file.getvalue().splitlines()
    assert first.index("samples/s") == last.index("samples/s")


def test_a_pipe_is_never_cut_or_wrapped() -> None:
    one, file = display()
    one.say("x" * 500 + " [red]not markup[/red]")
    assert file.getvalue() == "x" * 500 + " [red]not markup[/red]\n"


def test_a_terminal_gets_a_bar_that_moves() -> None:
    one, file = display(terminal=True)
    assert one.live
    with one:
        one.waiting("starting Ray")
        one.begin(epochs=2, steps_per_epoch=30, samples_per_step=64)
        one.position(Progress(0, 1, 15, 0.5, 0.7125))
        one.epoch(epoch(1))
    text = file.getvalue()
    assert "\x1b[" in text
    assert "starting Ray" in text
    assert "epoch 2/2" in text
    assert "60/60" in text
    assert "━" in text


def test_the_bar_of_a_run_that_stops_after_so_many_steps_ends_there() -> None:
    one, file = display(terminal=True)
    with one:
        one.begin(epochs=2, steps_per_epoch=30, samples_per_step=64, most=45)
        one.position(Progress(0, 1, 15, 0.5, 0.7125))
        one.close()
    assert "45/45" in file.getvalue() and "/60" not in file.getvalue()


@pytest.mark.parametrize("brief", [False, True])
def test_the_bar_of_one_of_many_runs_goes_when_the_run_is_done(brief: bool) -> None:
    one, file = display(terminal=True, brief=brief)
    one.begin(epochs=1, steps_per_epoch=30, samples_per_step=64)
    one.close()
    # The last line is erased: to the line above, whole line.
    assert file.getvalue().endswith("\x1b[1A\x1b[2K") == brief


def test_the_bar_shows_rate_and_loss_inside_an_epoch() -> None:
    one, file = display(terminal=True)
    one.begin(epochs=2, steps_per_epoch=30, samples_per_step=64)
    one.position(Progress(0, 1, 15, 0.5, 0.7125))
    one.close()
    # 15 steps of 64 samples in half a second.
    assert "1,920 samples/s  loss 0.7125" in file.getvalue()
    assert "45/60" in file.getvalue()


def test_the_cursor_comes_back_after_an_error() -> None:
    one, file = display(terminal=True)
    with pytest.raises(RuntimeError), one:
        one.begin(epochs=2, steps_per_epoch=30, samples_per_step=64)
        raise RuntimeError
    text = file.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_the_report_says_where_everything_is(tmp_path: Path) -> None:
    one, file = display()
    one.report([summary()], tmp_path)
    lines = file.getvalue().splitlines()
    assert str(tmp_path) in lines[-2]
    assert lines[-1].endswith("mlflow ui --backend-store-uri sqlite:////there/mlflow.db")


def test_the_report_says_what_speaks_against_a_run(tmp_path: Path) -> None:
    one, file = display()
    over = {"code": "oversubscribed", "detail": "4 threads on 2 cores of here"}
    unlike = {"code": "unlike_hosts", "detail": "4 cores on a, 2 cores on b"}
    one.report([summary(caveats=[over, unlike])], tmp_path)
    assert [line for line in file.getvalue().splitlines() if line.startswith("caveat")] == [
        "caveat:  oversubscribed (4 threads on 2 cores of here): not ranked",
        "caveat:  unlike hosts (4 cores on a, 2 cores on b)",
    ]


def test_of_noise_no_accuracy_is_shown() -> None:
    one, file = display()
    with one:
        one.begin(epochs=1, steps_per_epoch=30, samples_per_step=64)
        one.epoch(replace(epoch(0), learnable=False))
    assert "loss 0.3750" in file.getvalue()
    assert "accuracy" not in file.getvalue()

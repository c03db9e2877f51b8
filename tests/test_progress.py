import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from distlab.errors import DistlabError, WorkerError
from distlab.events import Progress
from distlab.progress import Display, complain, ui_command
from distlab.record import Epoch
from distlab.report.compare import results


def display(terminal: bool = False) -> tuple[Display, StringIO]:
    file = StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, highlight=False)
    return Display(console), file


def epoch(index: int) -> Epoch:
    return Epoch(
        index=index,
        seconds=2.5,
        throughput=23_456.7,
        step_time_ms={"p50": 1.0, "p95": 2.0, "p99": 3.0},
        losses=np.array([0.5, 0.25]),
        test_accuracy=0.9125,
        test_loss=0.3,
        evaluated=1000,
    )


def summary(**values: Any) -> dict[str, Any]:
    return {
        "framework": "torch",
        "framework_version": "2.13.0",
        "execution": "eager",
        "model": "mlp",
        "parameters": 89_610,
        "data": "mnist5k",
        "device": "cpu",
        "world_size": 2,
        "threads_per_worker": 1,
        "global_batch_size": 128,
        "scaling": "weak",
        "epochs": 2,
        "throughput_samples_per_s": 23_456.7,
        "step_time_ms": {"p50": 1.231, "p95": 2.349, "p99": 3.457},
        "epoch_time_s": [1.0, 2.0],
        "test_accuracy": [0.8, 0.9125],
        "time_to_accuracy_s": None,
        "target_accuracy": 0.97,
        "compile_s": 0.4,
        "startup_s": 7.25,
        "wall_s": 12.5,
        "verified": True,
        "checks": {
            "weights": {"passed": True, "detail": "fine"},
            "clock": {"passed": True, "detail": "fine"},
        },
        "mlflow": {"tracking_uri": "sqlite:////there/mlflow.db"},
        **values,
    }


def shown(*summaries: dict[str, Any], width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(results(list(summaries)))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if re.search(rf"[│|] *{re.escape(name)}", line))


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


def test_the_table_of_one_run_has_its_conditions_and_figures() -> None:
    text = shown(summary())
    assert "torch 2.13.0" in text
    for expected in (
        "mlp (89,610 parameters)",
        "mnist5k",
        "2 x cpu",
        "128 global (weak scaling)",
        "23,457 samples/s",
        "1.23 ms",
        "1.50 s",
        "91.25%",
        "not reached (97.0%)",
        "7.2 s",
        "12.5 s",
    ):
        assert expected in text, expected
    assert "yes" in row(text, "verified")


def test_time_to_accuracy_is_shown_once_reached() -> None:
    assert "3.00 s (97.0%)" in shown(summary(time_to_accuracy_s=3.0))


def test_the_table_of_three_runs_has_a_column_for_each() -> None:
    text = shown(
        summary(throughput_samples_per_s=111.0),
        summary(framework="tf", framework_version="2.21.0", throughput_samples_per_s=222.0),
        summary(framework="paddle", framework_version="3.3.1", throughput_samples_per_s=333.0),
    )
    assert max(len(line) for line in text.splitlines()) <= 100
    throughput = row(text, "throughput")
    assert re.search(r"111 samples/s.*222 samples/s.*333 samples/s", throughput)
    header = next(line for line in text.splitlines() if "torch 2.13.0" in line)
    assert re.search(r"torch 2\.13\.0.*tf 2\.21\.0.*paddle 3\.3\.1", header)


def test_more_than_three_runs_have_a_row_each() -> None:
    text = shown(
        *(
            summary(
                world_size=n,
                throughput_samples_per_s=n * 900.0,
                speedup=0.9 * n,
                scaling_efficiency=0.9,
            )
            for n in (1, 2, 4, 8)
        ),
        width=100,
    )
    (line,) = (line for line in text.splitlines() if "8 cpu" in line)
    assert "7,200" in line
    assert "7.20 90%" in line


def test_conditions_that_runs_do_not_share_are_shown_for_each() -> None:
    text = shown(summary(world_size=1), summary(world_size=4))
    assert re.search(r"1 x cpu.*4 x cpu", row(text, "workers"))


def test_shared_conditions_are_shown_once() -> None:
    assert shown(summary(), summary()).count("mnist5k") == 1


def test_an_unverified_run_is_shown_as_no_with_its_failed_checks() -> None:
    checks = {
        "weights": {"passed": True, "detail": "fine"},
        "clock": {"passed": False, "detail": "stood still"},
        "samples": {"passed": False, "detail": "shuffled"},
    }
    text = shown(summary(verified=False, checks=checks), summary())
    line = row(text, "verified")
    assert re.search(r"NO: clock, samples.*yes", line)


def test_the_report_says_where_everything_is(tmp_path: Path) -> None:
    one, file = display()
    one.report([summary()], tmp_path)
    lines = file.getvalue().splitlines()
    assert str(tmp_path) in lines[-2]
    assert lines[-1].endswith("mlflow ui --backend-store-uri sqlite:////there/mlflow.db")


def test_the_ui_of_a_server_is_its_address() -> None:
    assert ui_command("http://tracking:5000") == "http://tracking:5000"


def test_errors_go_to_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    complain(DistlabError("[4] GPUs", "none [at all]", "device=cpu\nor more GPUs"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "distlab: error",
        "asked: [4] GPUs",
        "found: none [at all]",
        "fix:   device=cpu",
        "       or more GPUs",
    ]


def test_a_failed_worker_is_shown_with_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    complain(WorkerError("worker 1 died", "/there/rank-1.log"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "worker 1 died" in err and "/there/rank-1.log" in err and "FAILED" in err

import shlex

import pytest

from distlab.console import complain, ui_command
from distlab.errors import DistlabError, WorkerError


def test_the_ui_of_a_server_is_its_address() -> None:
    assert ui_command("http://tracking:5000") == "http://tracking:5000"


def test_the_ui_of_a_file_may_be_pasted_whatever_its_name() -> None:
    assert (
        shlex.split(ui_command("sqlite:////my runs/(1)/m.db"))[-1] == "sqlite:////my runs/(1)/m.db"
    )


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

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from distlab.console import Terminal, answer, complain, ui_command
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


def started(script: str, shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell's line leaves that runs a script as ``$SCRIPT``."""
    command = shell.replace("$SCRIPT", shlex.join([sys.executable, "-c", script]))
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_work_goes_on_when_the_reader_of_its_lines_leaves(tmp_path: Path) -> None:
    script = f"""
from distlab.console import Terminal, ready
ready()
terminal = Terminal()
for line in range(20000):
    terminal.print("a line of many")
open("{tmp_path}/done", "w").close()
"""
    done = started(script, "set -o pipefail; $SCRIPT | head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a line of many\n", "")
    assert (tmp_path / "done").exists()


def test_a_closed_stdout_leads_nowhere_and_not_into_a_file(tmp_path: Path) -> None:
    script = f"""
import os
from distlab.console import Terminal, ready
ready()
file = open("{tmp_path}/record", "w")
Terminal().print("hello")
os.write(1, b"from a library")
"""
    assert started(script, "$SCRIPT >&-").returncode == 0
    assert (tmp_path / "record").read_text() == ""


def test_what_a_terminal_cannot_show_is_told_by_its_number() -> None:
    script = "from distlab.console import Terminal, ready; ready(); Terminal().print('/tmp/é数')"
    shown = started(script, "$SCRIPT", PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stdout) == (0, "/tmp/\\xe9\\u6570\n")


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["--help"], 0, "usage\n", ""),
        (["x", "--", "--help"], 0, "x -- --help\n", ""),
        (["code"], 7, "code\n", ""),
        (["mistake"], 1, "mistake\n", "distlab: error\nasked: a\nfound: b\nfix:   c\n"),
        (["stop"], 130, "stop\n", ""),
    ],
)
def test_every_command_answers_alike(
    words: list[str], code: int, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(given: list[str], terminal: Terminal) -> int | None:
        terminal.print(" ".join(given))
        if given == ["mistake"]:
            raise DistlabError("a", "b", "c")
        if given == ["stop"]:
            raise KeyboardInterrupt
        return 7 if given == ["code"] else None

    assert answer(act, "usage\n", words) == code
    assert capsys.readouterr() == (out, err)

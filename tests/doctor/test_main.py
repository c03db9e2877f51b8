import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distlab.console import Terminal
from distlab.doctor import __main__ as doctor
from distlab.doctor import machine, places, software
from distlab.doctor.finding import Finding, Level, note, wrong

LOOKS = {
    software: ("python", "frameworks", "ray", "report", "compiler"),
    machine: ("cores", "clock", "load", "memory", "variables"),
    places: ("store", "folder", "data", "cluster", "strangers"),
}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the doctor find this and nothing else."""

    def nothing(*_: object) -> Iterator[Finding]:
        return iter(())

    def give(*findings: Finding) -> None:
        for module, names in LOOKS.items():
            for name in names:
                monkeypatch.setattr(module, name, nothing)
        monkeypatch.setattr(software, "python", lambda: iter(findings))

    return give


@pytest.mark.slow
def test_where_runs_work_the_doctor_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """The command, in which each framework is imported by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "distlab.doctor"],
        cwd=tmp_path,
        env={**os.environ, "OMP_PROC_BIND": "true", "MPLBACKEND": "module://none.such"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    told = {line[7:].split(":")[0]: line for line in lines[:-1]}
    frameworks = {f"framework={name}" for name in ("torch", "tf", "paddle")}
    assert frameworks | {"distlab", "Ray", "report", "compiler", "cores", "store"} <= set(told)
    for what in (*frameworks, "Ray", "report", "compiler", "store"):
        assert told[what].startswith("ok "), told[what]
    assert told["variables"].startswith("note ") and "OMP_PROC_BIND=true" in told["variables"]
    assert "framework.env" in told["variables"]
    assert lines[-1].startswith("runs would work")
    assert list(tmp_path.iterdir()) == []


def test_only_what_would_fail_or_be_wrong_is_a_failure(
    found: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    found(Finding("cores", "2"), note("load", "3", "wait"))
    assert doctor.main([]) == 0
    found(Finding("cores", "2"), wrong("store", "gone", "make it"))
    assert doctor.main([]) == 1
    shown = capsys.readouterr().out
    assert "WRONG  store: gone -> make it\n" in shown
    assert "1 of these would make runs fail" in shown


def test_a_look_that_fails_keeps_nobody_from_the_others(
    found: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> Iterator[Finding]:
        raise OSError("no such thing")

    found(Finding("cores", "2"))
    monkeypatch.setattr(machine, "memory", fails)
    told = doctor.examine({})
    assert [one.level for one in told] == [Level.fine, Level.note]
    assert "no such thing" in told[1].found


def test_on_a_terminal_it_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(force_terminal=True, width=60, no_color=True)
    doctor.show([wrong("store", "[gone] " * 20, "make it")], terminal)
    shown = capsys.readouterr().out
    assert "-> make it" in shown and "[gone]" in shown
    assert max(map(len, shown.splitlines())) <= 70


def test_options_are_taken_as_they_stand(
    found: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.parse(["data.dir=~/a=b, c"]) == {"data.dir": "~/a=b, c"}
    assert doctor.main(["gpus=2"]) == 1
    assert "'gpus=2' is no option" in capsys.readouterr().err
    assert doctor.main(["--help"]) == 0
    assert "tracking.uri=URI" in capsys.readouterr().out

"""Environments are made here of the packages that are installed: no registry is asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import borrowed
import pytest

from distlab.environment import __main__ as command
from distlab.environment import kept, make
from distlab.errors import DistlabError

SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return kept.folder()


@pytest.mark.slow
def test_what_is_made_is_found_listed_and_removed(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make, "commands", borrowed.commands)
    assert command.main(["create", "torch", "name=mine"]) == 0
    [one] = kept.kept()
    assert (one.name, one.unfit, one.path) == ("mine", None, cache / "mine")
    assert kept.interpreter("torch", "no_such", "torch", "auto", one.version) == one.interpreter
    ran = subprocess.run([one.interpreter, "-c", SITE], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(str(one.path))
    told = capfd.readouterr().out
    assert "framework=torch framework.environment=mine" in told
    assert command.main(["create", "torch", "name=mine"]) == 1
    assert "remove mine" in capfd.readouterr().err
    assert command.main(["list"]) == 0
    assert f"mine  torch {one.version}" in capfd.readouterr().out
    assert command.main(["remove", "mine"]) == 0
    assert not any(cache.iterdir())


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ([["/bin/sh", "-c", "exit 3"]], "ended with code 3"),
        ([["/bin/mkdir", "-p", "BIN"], ["/bin/ln", "-s", "/bin/false", "BIN/python"]], "imported"),
    ],
)
def test_of_one_that_cannot_be_made_nothing_is_left(
    cache: Path, monkeypatch: pytest.MonkeyPatch, commands: list[list[str]], why: str
) -> None:
    def failing(path: Path, named: Any) -> list[list[str]]:
        return [[word.replace("BIN", str(path / "bin")) for word in one] for one in commands]

    monkeypatch.setattr(make, "commands", failing)
    with pytest.raises(DistlabError, match=why):
        make.create("torch", "2.12.1", None, "cpu", (), print)
    assert not any(cache.iterdir())


@pytest.mark.parametrize("uv", ["/opt/uv", None])
def test_uv_makes_it_where_there_is_one(monkeypatch: pytest.MonkeyPatch, uv: str | None) -> None:
    monkeypatch.setattr(make.shutil, "which", lambda name: uv)
    made, filled = make.commands(Path("/c/x"), ["torch==1", "--index-url", "A"])
    assert made[:2] == ([uv, "venv"] if uv else [sys.executable, "-m"]) and made[-1] == "/c/x"
    assert filled[-3:] == ["torch==1", "--index-url", "A"] and "/c/x/bin/python" in filled
    assert (filled[0] == uv) is bool(uv)


@pytest.mark.parametrize(
    "words",
    [
        ["create"],
        ["create", "torch=2"],
        ["create", "torch==x; rm"],
        ["create", "torch", "build=tpu"],
        ["create", "torch", "more"],
        ["create", "torch", "name=../x"],
        ["remove"],
        ["drop", "torch"],
        [],
    ],
)
def test_what_is_no_command_is_refused(words: list[str], capfd: Any) -> None:
    assert command.main(words) == 1
    assert "fix:   " in capfd.readouterr().err


def test_words_behind_dashes_are_the_installers(capfd: Any) -> None:
    order = command.parse(["torch==2.12.1", "name=mine", "build=gpu", "--", "--index-url", "A"])
    wanted = ("torch", "2.12.1", "mine", "gpu", ("--index-url", "A"))
    assert (order.framework, order.version, order.name, order.build, order.more) == wanted
    assert command.main(["--help"]) == 0
    assert "create FRAMEWORK" in capfd.readouterr().out


def test_facts_are_plain(cache: Path) -> None:
    one = kept.Kept("a", "torch", "1", "3.11.1", "2", "0.1", "torch==1")
    one.path.mkdir(parents=True)
    kept.keep(one)
    assert json.loads((cache / "a" / kept.FACTS).read_text())["asked"] == "torch==1"
    assert kept.kept() == [one]

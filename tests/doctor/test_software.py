import os
import stat
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from distlab.backends import registry
from distlab.doctor import software
from distlab.doctor.finding import Level
from distlab.doctor.probe import Seen, look
from distlab.environment.kept import Kept, keep


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Put a package of these lines before all others."""

    def write(lines: str) -> str:
        (tmp_path / "strange.py").write_text(lines)
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        monkeypatch.setenv("PYTHONPATH", path)
        return "strange"

    return write


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "raise ImportError('first\\nlibstrange.so.1: no such file')",
            "libstrange.so.1: no such file",
        ),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os; os.kill(os.getpid(), 11)", "its import is ended by signal 11"),
        ("import sys; sys.exit(3)", "its import fails without a word"),
        ("print('hello')", None),
    ],
)
def test_what_an_import_came_to(
    package: Callable[[str], str], lines: str, said: str | None
) -> None:
    assert look(package(lines)) == Seen(said)


def test_an_import_that_hangs_is_given_up(package: Callable[[str], str]) -> None:
    assert look(package("import time; time.sleep(1000)"), 0.5).error is not None


def test_an_import_has_the_environment_of_a_worker(
    package: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    assert look(package("import os; assert 'OMP_PROC_BIND' not in os.environ")) == Seen()


def test_a_framework_that_fails_makes_runs_fail_and_one_that_is_absent_need_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = {"torch": Seen("OSError: libtorch.so"), "tf": Seen(gpus=0)}
    versions = {"torch": "2.13.0", "tensorflow": "2.21.0", "paddle": None}
    entries = dict.fromkeys(("torch", "tf", "paddle"))
    monkeypatch.setattr(registry, "available", lambda: entries)
    monkeypatch.setattr(software, "look", lambda name: seen[name])
    monkeypatch.setattr(software, "_version", versions.get)
    torch, tf, paddle = software.frameworks()
    assert (torch.level, tf.level, paddle.level) == (Level.wrong, Level.fine, Level.note)
    assert "libtorch.so" in torch.found and "--force-reinstall torch" in torch.advice
    assert paddle.advice == 'pip install "distlab[paddle]"'
    versions.update(torch=None, tensorflow=None)
    assert {one.level for one in software.frameworks()} == {Level.wrong}


def test_a_compiler_is_there_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_version", lambda package: "1")
    (works,) = software.compiler()
    assert works.level is Level.fine
    broken = tmp_path / "broken compiler"
    broken.write_text("#!/bin/sh\necho 'no cc1plus' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(broken))
    (fails,) = software.compiler()
    assert fails.level is Level.wrong and "no cc1plus" in fails.found
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    (absent,) = software.compiler()
    assert absent.level is Level.wrong and "framework.execution=eager" in absent.advice


def test_a_framework_in_an_environment_of_its_own_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(software, "package_of", lambda name: f"no_such_{name}")
    facts = sys.version.split()[0], version("ray"), "0.1.0", ""
    for name, one in (
        ("torch", Kept("mine", "torch", "9.1", *facts)),
        ("tf", Kept("old", "tf", "2.0", "3.6.1", *facts[1:])),
    ):
        one.interpreter.parent.mkdir(parents=True)
        one.interpreter.symlink_to(sys.executable)
        keep(one)
        assert one.framework == name
    found = {(one.what, one.level): one.found for one in software.frameworks()}
    assert found["framework=torch", Level.fine] == "9.1 in the environment mine"
    assert "it is Python 3.6.1" in found["framework=tf", Level.note]
    assert ("framework=torch", Level.wrong) not in found
    assert found["framework=tf", Level.wrong] == "no_such_tf is not installed"

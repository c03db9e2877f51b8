import os
import subprocess
import sys
from pathlib import Path

import pytest

from distlab.doctor import preflight
from distlab.errors import DistlabError

REPORT = """
from distlab.errors import DistlabError
from distlab.doctor import preflight
try:
    preflight.report()
except DistlabError as error:
    print(error)
else:
    print("ready")
"""


def report(**environment: str) -> list[str]:
    """What is said of the report by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_folder_that_takes_records_is_made_and_left_empty(tmp_path: Path) -> None:
    preflight.writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_takes_none_is_told(read_only_folder: Path) -> None:
    for folder in (read_only_folder, read_only_folder / "below", Path("/dev/null/below")):
        with pytest.raises(DistlabError, match=f"write records into {folder}"):
            preflight.writable(folder)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    # A link to the device that is always full.
    (tmp_path / ".room").symlink_to("/dev/full")
    with pytest.raises(DistlabError, match="No space left on device"):
        preflight.writable(tmp_path)


def test_in_a_folder_that_is_gone_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight.here()
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(DistlabError, match="no longer there"):
        preflight.here()


@pytest.mark.slow
def test_a_report_can_be_made_whatever_is_set_for_matplotlib(tmp_path: Path) -> None:
    """In a process of its own, because matplotlib reads its settings when it is imported."""
    (tmp_path / "matplotlibrc").write_text("backend: none.such\ntext.usetex: True\nno.such: 1\n")
    assert report(
        MPLBACKEND="module://matplotlib_inline.backend_inline",
        MATPLOTLIBRC=str(tmp_path),
        MPLCONFIGDIR="/proc/nowhere",
    ) == ["ready"]


@pytest.mark.slow
def test_a_report_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    stub = tmp_path / "matplotlib" / "__init__.py"
    stub.write_text("raise ModuleNotFoundError('No module named kiwi', name='kiwisolver')")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    assert report(PYTHONPATH=path)[1:] == [
        "found: No module named kiwi",
        "fix:   pip install kiwisolver",
    ]
    stub.write_text("raise ValueError('broken settings')")
    told = report(PYTHONPATH=path)
    assert told[1] == "found: ValueError: broken settings"
    assert "MATPLOTLIBRC=/dev/null python -m distlab.launch" in told[2]

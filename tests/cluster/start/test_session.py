import os
import subprocess
import sys
from pathlib import Path

import pytest
from stranger import UID, two_users

from distlab.cluster.start import session


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(session, "_session", None)
    monkeypatch.setattr(session, "is_unfit", lambda _: False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "unfit"),
    [
        ("/tmp", False),
        ("/scratch/user/tmp", False),
        ("/tmp/with a space", True),
        ("/tmp/donn\u00e9es", True),
        ("/scratch/" + "x" * 61, True),
    ],
)
def test_sockets_and_libraries_need_a_short_plain_path(
    folder: str, unfit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", folder)
    assert session.is_unfit(folder) == unfit
    assert session.place() == ("/tmp" if unfit else folder)


def test_it_is_the_users_alone_and_gone_at_the_end(place: Path) -> None:
    folder = session.folder()
    assert folder.parent == place and folder.stat().st_mode & 0o777 == 0o700
    assert session.folder() == folder
    (folder / "ray").mkdir()
    session.leave()
    assert list(place.iterdir()) == []
    session.leave()


def test_that_of_a_failed_start_stays_until_the_next_command(place: Path) -> None:
    first = session.folder()
    session.leave(keep=True)
    assert first.exists()
    second = session.folder()
    assert list(place.iterdir()) == [second]
    session.leave()


def test_that_of_a_killed_command_is_removed_and_that_of_a_living_one_is_not(place: Path) -> None:
    code = "from distlab.cluster.start import session as s\nprint(s.folder(), flush=True)\ninput()"
    code = code.replace("\nprint", "\ns.is_unfit = lambda _: False\nprint")
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
    ) as other:
        assert other.stdout
        folder = Path(other.stdout.readline().strip())
        session.remove_dead(place)
        assert folder.is_dir()
        other.kill()
        other.wait()
        session.remove_dead(place)
        assert not folder.exists()


def test_nothing_else_is_removed(place: Path) -> None:
    (place / f"{session.PREFIX}without-a-lock").mkdir()
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / session.OWNER).touch()
    (place / f"{session.PREFIX}link").symlink_to(elsewhere)
    session.remove_dead(place)
    assert len(list(place.iterdir())) == 3 and (elsewhere / session.OWNER).exists()


@two_users
def test_another_users_is_left_alone(place: Path) -> None:
    foreign = place / f"{session.PREFIX}foreign"
    foreign.mkdir()
    (foreign / session.OWNER).touch()
    os.chown(foreign, UID, UID)
    session.remove_dead(place)
    assert foreign.exists()

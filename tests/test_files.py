import os
import stat
from pathlib import Path

import pytest

from distlab import files
from distlab.files import content, opened, slug, write


def test_a_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert content(tmp_path / "link", 5) == b"12345"


def test_no_more_is_read_than_may_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(OSError, match="holds more than 4 bytes"):
        content(tmp_path / "file", 4)
    # Sparse: it would fill the memory.
    os.truncate(tmp_path / "file", 2**40)
    with pytest.raises(OSError, match="holds more than 4 bytes"):
        content(tmp_path / "file", 4)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "nothing"])
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    with pytest.raises(OSError, match=r"no regular file|No such file|Is a directory"):
        opened(path)


def test_a_file_is_written_whole_or_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    assert write(path, "whole ä") == path
    assert path.read_bytes() == "whole ä".encode()

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        write(path, "cut off")
    assert path.read_bytes() == "whole ä".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "record").symlink_to("victim")
    write(tmp_path / "record", "new")
    assert (tmp_path / "victim").read_text() == "kept"
    assert (tmp_path / "record").read_text() == "new"


def test_a_file_has_the_rights_that_the_user_gives_new_ones(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mlp-weak-64.5_a", "mlp-weak-64.5_a"),
        ("../../x", "_._.._x"),
        (".ssh", "_ssh"),
        ("my.module:Backend", "my.module_Backend"),
        ('"><script>', "___script_"),
    ],
)
def test_a_name_is_a_slug_before_it_is_a_path(text: str, named: str) -> None:
    assert slug(text) == named
    assert files.slug(named) == named

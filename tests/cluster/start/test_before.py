import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import stranger
from stranger import two_users

from distlab.cluster.start import before
from distlab.errors import DistlabError

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The frame that a server of HTTP/2 sends first."""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which `ray start` leaves an address; nobody's Ray runs."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(before, "_running", lambda: iter(()))
    file = tmp_path / before.ADDRESS
    file.parent.mkdir()
    file.write_text("127.0.0.1:6379\n")
    return file


def test_auto_is_what_the_environment_names_what_runs_or_what_was_started_last(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert before.auto() == "127.0.0.1:6379"
    monkeypatch.setattr(before, "_running", lambda: iter(["a:1", "a:1"]))
    assert before.auto() == "a:1"
    monkeypatch.setattr(before, "_running", lambda: iter(["a:1", "a:2"]))
    assert before.auto() == "127.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert before.auto() == "head:6379"


def test_where_none_was_started_there_is_none(written: Path) -> None:
    written.unlink()
    with pytest.raises(ConnectionError, match="no Ray of this user's"):
        before.auto()


@two_users
@pytest.mark.parametrize("planted", ["file", "folder", "link"])
def test_an_address_that_another_user_left_is_not_followed(written: Path, planted: str) -> None:
    """Ray opens its folder to everybody, and would send this user's token there."""
    if planted == "link":
        written.parent.rename(written.parent.with_name("of-this-user"))
        written.parent.symlink_to("of-this-user")
    path = written if planted == "file" else written.parent
    os.chown(path, stranger.UID, stranger.UID, follow_symlinks=False)
    with pytest.raises(DistlabError) as caught:
        before.auto()
    assert (
        f"(uid {stranger.UID})" in caught.value.found and "cluster.address=HEAD" in caught.value.fix
    )
    assert len(str(caught.value).splitlines()) <= 6


@two_users
def test_a_port_that_another_user_has_by_now_is_not_joined(written: Path) -> None:
    code = "s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen(
        stranger.command(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as another:
        assert another.stdout
        address = f"127.0.0.1:{another.stdout.readline().strip()}"
        written.write_text(address)
        with pytest.raises(DistlabError, match=f"listens at {address} belongs to another user"):
            before.auto()
        another.kill()
    assert before.auto() == address


def test_a_link_instead_of_the_file_is_not_followed(written: Path) -> None:
    written.rename(written.with_name("elsewhere"))
    written.symlink_to("elsewhere")
    assert before.recorded() is None


@two_users
def test_only_rays_of_the_user_or_root_are_seen() -> None:
    """A process may call itself as it likes."""
    named = "open('/proc/self/comm', 'w').write('raylet')\n"
    for become, seen in ((stranger.BECOME, False), ("", True)):
        code = f"{named}{become}print('up', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-I", "-c", code, f"{before.FLAG}10.9.8.7:1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout and process.stdout.readline()
            assert ("10.9.8.7:1" in before._running()) == seen
            process.kill()


def answering(answer: bytes) -> tuple[int, Callable[[], None]]:
    """A server that gives one caller an answer; its port, and how to wait for its end."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):
                assert connection.recv(1000).startswith(before.PREFACE)
                for byte in answer:
                    connection.sendall(bytes([byte]))

    thread = threading.Thread(target=serve)
    thread.start()
    return server.getsockname()[1], thread.join


@pytest.mark.parametrize(("status", "asks"), [(b"\x010", False), (b"\x0216", True)])
def test_whether_a_ray_asks_for_a_token(status: bytes, asks: bool) -> None:
    """As a Ray 2.60 answers."""
    port, end = answering(SETTINGS + b"\0\0\x0f\1\5\0\0\0\1@" + b"\x0bgrpc-status" + status)
    assert before.asks_for_token("127.0.0.1", port) is asks
    end()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad request\r\n", SETTINGS])
def test_what_is_no_ray_is_said(answer: bytes) -> None:
    port, end = answering(answer)
    with pytest.raises(OSError, match="no Ray"):
        before.asks_for_token("127.0.0.1", port)
    end()

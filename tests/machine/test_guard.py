"""The guard, in processes of their own; the stranger is another user, so root alone can be both."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stranger import told, two_users

from distlab.machine import guard

LISTEN = """
import socket, sys
server = socket.socket(getattr(socket, sys.argv[1]))
if sys.argv[3:]:
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.bind((sys.argv[2], 0))
server.listen()
print(*server.getsockname()[:2], flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"secret")
    connection.close()
"""
CONNECT = """
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as connection:
    print(connection.recv(9).decode())
"""
VANISH = """
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
connection.sendall(b"do something")
connection.close()
print("gone")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guard.build(tmp_path_factory.mktemp("guard"))


class Server:
    """A process that listens and, unless its peer is refused, says a word to each."""

    def __init__(self, library: Path | None, *arguments: str) -> None:
        preload = {guard.PRELOAD: str(library)} if library else {}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", LISTEN, *arguments],
            env={**os.environ, **preload},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.host, self.port = self.process.stdout.readline().split()

    def tells(self, stranger: bool = False, host: str = "127.0.0.1") -> str:
        """What one hears from it."""
        return told(CONNECT, host, self.port, stranger=stranger)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize(
    ("arguments", "bound", "reached"),
    [
        (["AF_INET", "0.0.0.0"], "127.0.0.1", "127.0.0.1"),
        (["AF_INET6", "::"], "::ffff:127.0.0.1", "127.0.0.1"),
        (["AF_INET6", "::", "alone"], "::1", "::1"),
        (["AF_INET6", "::1"], "::1", "::1"),
    ],
)
def test_what_is_listened_on_is_loopback_and_the_same_user_is_heard(
    arguments: list[str], bound: str, reached: str, library: Path
) -> None:
    with Server(library, *arguments) as server:
        assert server.host == bound
        assert server.tells(host=reached) == "secret"


@two_users
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_another_user_is_not_heard(family: str, library: Path) -> None:
    address = "0.0.0.0" if family == "AF_INET" else "::"
    with Server(None, family, address) as open_to_all:
        assert open_to_all.tells(stranger=True) == "secret"
    with Server(library, family, address) as server:
        assert "secret" not in server.tells(stranger=True)
        assert server.tells() == "secret", "and who is welcome still is"


@two_users
def test_who_hangs_up_before_he_is_seen_is_not_heard_either(library: Path, tmp_path: Path) -> None:
    """Of a closed socket the kernel tells no user but 0, which root's own must not be taken for."""
    code = """
import os, socket, sys, time
server = socket.create_server(("", 0))
print(server.getsockname()[1], flush=True)
input()
server.setblocking(False)
try:
    print(server.accept()[0].recv(99), flush=True)
except BlockingIOError:
    print("nobody", flush=True)
"""
    for stranger in (True, False):
        with subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            env={**os.environ, guard.PRELOAD: str(library)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdin and server.stdout
            port = server.stdout.readline().strip()
            assert told(VANISH, "127.0.0.1", port, stranger=stranger) == "gone"
            server.stdin.write("\n")
            server.stdin.flush()
            assert server.stdout.readline() == "nobody\n"


def test_whether_it_is_there_can_be_seen(library: Path) -> None:
    code = "from distlab.machine import guard; print(guard.active())"
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}

    def seen(environment: dict[str, str]) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **path, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    assert seen({guard.PRELOAD: ""}) == "False"
    assert seen({guard.PRELOAD: guard.preloaded(library, {guard.PRELOAD: ""})}) == "True"
    assert not guard.active(), "building it here loads it, and guards nothing"


def test_only_what_is_started_meanwhile_has_it(library: Path) -> None:
    environment = {guard.PRELOAD: "/lib/users.so"}
    with guard.inherited(library, environment):
        assert environment[guard.PRELOAD] == f"{library}:/lib/users.so"
        within = dict(environment)
    assert environment == {guard.PRELOAD: "/lib/users.so"}
    guard.forget(within)
    assert within == environment
    alone: dict[str, str] = {}
    with guard.inherited(library, alone):
        within = dict(alone)
    assert alone == {}
    guard.forget(within)
    assert within == {}
    with guard.inherited(None, alone):
        assert alone == {}


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only compiler on the PATH."""
    path = tmp_path / "bin" / "cc"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 'ld: cannot find -ldl' >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def test_why_it_cannot_be_built_is_said(compiler: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"{compiler} failed: ld: cannot find -ldl"):
        guard.build(tmp_path)
    compiler.unlink()
    with pytest.raises(OSError, match="no C compiler"):
        guard.build(tmp_path)

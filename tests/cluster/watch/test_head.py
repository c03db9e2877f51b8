"""Whether Ray is there, told from sockets that stand for its processes."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distlab.cluster import connect
from distlab.cluster.watch import head
from distlab.cluster.watch.head import Head
from distlab.cluster.watch.watching import Watch
from distlab.errors import RayLostError


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "raylet")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        yield path


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


def address(listening: socket.socket) -> str:
    return f"127.0.0.1:{listening.getsockname()[1]}"


def answer(listening: socket.socket, words: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(100)
        connection.sendall(words)


@pytest.mark.parametrize("words", [b"\0", b""])
def test_a_ray_that_answers_is_there_whatever_it_says(
    words: bytes, listening: socket.socket, raylet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "MUTE_S", 0.0)
    server = threading.Thread(target=answer, args=(listening, words))
    server.start()
    Head(address(listening), raylet, "logs").check(now=True)
    server.join()


def test_a_head_that_is_gone_is_told_with_its_address(
    listening: socket.socket, raylet: str
) -> None:
    where = address(listening)
    listening.close()
    with pytest.raises(RayLostError) as caught:
        Head(where, raylet, "logs").check(now=True)
    assert str(caught.value) == f"Ray is lost: its head at {where} is gone: nothing listens there"
    assert caught.value.log == "logs" and caught.value.may_pass


def test_a_raylet_that_is_gone_is_told(listening: socket.socket, tmp_path: Path) -> None:
    with pytest.raises(RayLostError, match=r"its process on this machine \(raylet\) is gone: No"):
        Head(address(listening), str(tmp_path / "none"), "logs").check(now=True)


def test_a_raylet_that_ends_meanwhile_is_told_without_waiting_for_the_next_look(
    listening: socket.socket, tmp_path: Path
) -> None:
    path = str(tmp_path / "raylet")
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(path)
        living.listen()
        one = Head(address(listening), path, "logs")
        one.check()
        connection, _ = living.accept()
        one.check()
    connection.close()
    with pytest.raises(RayLostError, match=r"\(raylet\) is gone: it has hung up"):
        one.check()


def test_a_head_that_says_nothing_is_lost_only_after_a_while(
    listening: socket.socket, raylet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "ANSWER_S", 0.05)
    one = Head(address(listening), raylet, "logs")
    one.check(now=True)
    monkeypatch.setattr(head, "MUTE_S", 0.0)
    with pytest.raises(RayLostError, match=r"has not answered for \d+ s"):
        one.check(now=True)


def test_it_is_looked_for_the_head_every_two_seconds_only(raylet: str) -> None:
    Head("127.0.0.1:1", raylet, "logs").check()


def test_a_head_that_does_not_answer_is_asked_nothing_that_may_wait_for_ever(
    listening: socket.socket, raylet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "ANSWER_S", 0.05)
    found = Head(address(listening), raylet, "logs")
    assert found.answers
    found.check(now=True)
    assert not found.answers
    monkeypatch.setattr(Head, "connected", lambda: found)
    assert not Head.reached()
    watch = Watch(1, silence_timeout_s=1.0)
    watch._silence._limits[0], watch._silence._silent[0] = 1.0, 5.0
    monkeypatch.setattr(watch, "doing", lambda ranks: pytest.fail("the head was asked"))
    found._looked = 0.0
    assert list(watch.turn()) == []


def test_a_head_that_is_back_in_time_is_waited_for(
    listening: socket.socket, raylet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Head(address(listening), raylet, "logs")
    answers = iter([TimeoutError(), TimeoutError(), None])

    def connect(*_: object) -> None:
        raise next(answers) or ConnectionResetError

    monkeypatch.setattr(head, "LOOK_S", 0.0)
    monkeypatch.setattr(head.socket, "create_connection", connect)
    found.wait()
    assert found.answers and list(answers) == []


class Known:
    """A Ray that is there, or lost."""

    def __init__(self, lost: bool) -> None:
        self._lost = lost

    def check(self, now: bool) -> None:
        if self._lost:
            raise RayLostError("Ray is lost", "logs")


@pytest.mark.parametrize(("lost", "told"), [(True, RayLostError), (False, BrokenPipeError)])
def test_a_broken_pipe_is_told_as_the_loss_of_ray_where_it_is_lost(
    lost: bool, told: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Any] = []
    monkeypatch.setattr(Head, "connected", lambda: Known(lost))
    monkeypatch.setattr(connect, "leave_lost", lambda: left.append(None))
    with pytest.raises(told), connect.left_when_lost():
        raise BrokenPipeError(32, "Broken pipe")
    assert len(left) == lost


def test_what_a_ray_that_is_being_ended_never_answers_holds_nobody_up(
    listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "ANSWER_S", 0.05)
    path, answered = str(tmp_path / "raylet"), threading.Event()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(path)
        living.listen()
        found = Head(address(listening), path, "logs")
        monkeypatch.setattr(Head, "connected", lambda: found)
        monkeypatch.setattr(Head, "reached", lambda: True)
        head.told(answered.wait, seconds=0.1)
        connection, _ = living.accept()
        said: list[str] = []
        head.told(lambda: said.append("to one that hears"))
        assert said == ["to one that hears"]
    connection.close()
    # Its raylet goes while it is asked: nobody waits any more.
    head.told(answered.wait, seconds=1e6)
    answered.set()
    monkeypatch.setattr(Head, "reached", lambda: False)
    head.told(lambda: said.append("to one that is gone"))
    assert said == ["to one that hears"]

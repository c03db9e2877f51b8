"""What is seen of a Ray before it is joined: which one ``auto`` stands for, what it asks for."""

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from distlab.cluster.start import session
from distlab.errors import DistlabError
from distlab.machine import network

ANSWER_S = 10
"""Seconds that the machine of a Ray may take to answer."""
ADDRESS = Path("ray/ray_current_cluster")
"""Where ``ray start`` writes the address of the Ray that it started, below its temporary folder."""
FLAG = "--gcs-address="
"""What stands before the address of its Ray in a raylet's command line."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How HTTP/2, and so gRPC, begins (RFC 9113, 3.4)."""
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
CALL = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/ray.rpc.NodeInfoGcsService/CheckAlive"),
    (b":authority", b"ray"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)
"""A call that changes nothing, without a token (gRPC's "gRPC over HTTP2")."""
STATUS = re.compile(rb"\x0bgrpc-status(?:\x01(.)|\x02(..))", re.DOTALL)
"""The header of a call's result: name and value, each after its length (RFC 7541, 5.2)."""
UNAUTHENTICATED = b"16"
"""The result for a caller who is not known (gRPC's ``status.proto``)."""


def auto() -> str:
    """The Ray that this user, or root, runs on this machine.

    ``RAY_ADDRESS``; the only one that runs; else the last one that ``ray start`` started here.

    Raises
    ------
    ConnectionError
        If there is none.
    DistlabError
        If another user of the machine says where one is.
    """
    named = os.environ.get("RAY_ADDRESS")
    if named and named != "auto":
        return named
    running = sorted(set(_running()))
    if len(running) == 1:
        return running[0]
    written = recorded()
    if written:
        return written
    if running:
        return running[0]
    raise ConnectionError("no Ray of this user's, or of root's, runs on this machine")


def recorded() -> str | None:
    """The address that ``ray start`` wrote on this machine; None if it wrote none.

    Raises
    ------
    DistlabError
        If the file, its folder, or what listens there is another user's.
    """
    file = Path(session.asked()) / ADDRESS
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(opened, errors="replace") as text:
        _refuse_a_stranger(file, os.fstat(opened).st_uid)
        for found in (file.parent.lstat(), file.parent.stat()):
            _refuse_a_stranger(file.parent, found.st_uid)
        address = text.read(256).strip()
    # Of a Ray that is no more another user may have the port.
    for user in network.listeners(address):
        _refuse_a_stranger(f"what listens at {address}", user)
    return address or None


def asks_for_token(host: str, port: int) -> bool:
    """Whether the Ray that listens there refuses who shows no token.

    Raises
    ------
    OSError
        If nothing answers, or what listens there is no Ray.
    """
    call = (
        PREFACE
        + _frame(SETTINGS, 0, 0, b"")
        + _frame(HEADERS, END_HEADERS, 1, b"".join(_literal(*one) for one in CALL))
        + _frame(DATA, END_STREAM, 1, bytes(5))
    )
    answer = b""
    with socket.create_connection((host, port), ANSWER_S) as connection:
        connection.sendall(call)
        while (status := STATUS.search(answer)) is None:
            more = connection.recv(4096)
            answer += more
            if not more or answer[3:4] not in (b"", bytes([SETTINGS])):
                raise ConnectionError("what listens there is no Ray")
    return status[2] == UNAUTHENTICATED


def _refuse_a_stranger(what: object, user: int) -> None:
    """Refuse what is neither this user's nor root's."""
    if user not in (os.geteuid(), 0):
        raise DistlabError(
            "to join the Ray that runs on this machine (cluster.address=auto)",
            f"{what} belongs to another user (uid {user}), who would be sent this user's token",
            "name the address: cluster=existing cluster.address=HEAD:6379\n"
            "or let distlab start its own Ray: cluster=local",
        )


def _running() -> Iterator[str]:
    """Addresses of the Rays whose raylets are this user's or root's, on this machine."""
    for process in psutil.process_iter(["uids", "name", "cmdline"]):
        with contextlib.suppress(psutil.Error):
            uids = process.info["uids"]
            if process.info["name"] == "raylet" and uids and uids.real in (os.geteuid(), 0):
                named = [word for word in process.info["cmdline"] or () if word.startswith(FLAG)]
                yield from (word.removeprefix(FLAG) for word in named)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    length = len(payload).to_bytes(3, "big")
    return length + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that is not put into the peer's table (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

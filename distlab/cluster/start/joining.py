"""Joining a Ray that runs already, and why that may fail."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from distlab.cluster.start import before
from distlab.cluster.start.causes import cause
from distlab.cluster.start.local_ray import has_stored_token
from distlab.errors import DistlabError

_SETTINGS = {
    # How often Ray asks where it is refused, once a second.
    "RAY_NUM_REDIS_GET_RETRIES": "3",
}
PORT = 6379
"""Where ``ray start --head`` listens unless told otherwise."""
GET_TOKEN = (
    "mkdir -p -m 700 ~/.ray && scp HEAD:.ray/auth_token ~/.ray/auth_token\n"
    "where the token is elsewhere: export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE"
)
"""How a machine gets the token that a Ray asks for."""

open_to_all = ""
"""The address of the Ray that was joined, if it asks nobody for a token."""


def settings() -> dict[str, str]:
    """What must be in the environment before Ray is imported.

    Whoever holds a token for Ray shows it, as Ray itself does with the address ``auto`` alone: a
    Ray that needs none does not look at it.
    """
    return {**_SETTINGS, **({"RAY_AUTH_MODE": "token"} if has_stored_token() else {})}


def join(address: str) -> None:
    """Join the Ray that runs at ``address``: ``auto``, or ``host:port``.

    Raises
    ------
    DistlabError
        If none answers there, or one that this process cannot work with.
    """
    import ray

    global open_to_all
    try:
        found = before.auto() if address == "auto" else address
    except ConnectionError as error:
        raise _refused(address, error) from error
    open_to_all = "" if _asks_for_token(address, found) else found
    try:
        with _silent_stderr():
            ray.init(address=found, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise _refused(address, error) from error


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what native code prints on stderr: a warning a second while Ray tries to be let in."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _asks_for_token(asked: str, address: str) -> bool:
    """Whether the Ray there asks for a token; refuses an address at which no Ray can be.

    Ray itself tries for minutes.
    """
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise DistlabError(
            _asked(asked, address),
            "that is the address of another service than the one that workers are placed by: "
            "Ray's client (ray://), or its dashboard and jobs (http://)",
            "on a machine of the cluster: cluster.address=auto\n"
            f"or the head's own address and port: cluster.address=HEAD:{PORT}\n"
            "or hand the whole command over: cluster=job cluster.address=http://HEAD:8265",
        )
    if not host or not port.isdecimal():
        raise DistlabError(
            _asked(asked, address),
            "an address is auto, or a host and a port",
            f"cluster.address={address.strip(':') or 'HEAD'}:{PORT}",
        )
    try:
        return before.asks_for_token(host.strip("[]"), int(port))
    except (OSError, OverflowError) as error:
        raise _refused(asked, error, address) from error


def _refused(asked: str, error: BaseException, address: str = "") -> DistlabError:
    """Why a Ray could not be joined, with what helps in this case."""
    chain = [error]
    while (below := chain[-1].__cause__) is not None:
        chain.append(below)
    told = _asked(asked, address)
    for one in chain:
        if "Version mismatch" in str(one):
            return DistlabError(
                told,
                cause(one),
                "install the same Ray and Python on all machines, "
                "or run this command in the cluster's own environment",
            )
        if "uthentication" in str(one):
            return DistlabError(
                told,
                "it asks for a token, and the one here is missing or another",
                GET_TOKEN,
            )
    return DistlabError(
        told,
        f"none answered: {cause(error).splitlines()[0]}",
        "start one with: ray start --head\nor let distlab start its own: cluster=local",
        may_pass=True,
    )


def _asked(asked: str, address: str = "") -> str:
    found = f", which is {address}" if address and address != asked else ""
    return f"to join a running Ray (cluster=existing cluster.address={asked}{found})"

"""How this host is reached by others: its network interfaces, and what its own name leads to."""

import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

HOSTS = Path("/etc/hosts")


@dataclass(frozen=True)
class Name:
    """The name that this host calls itself, which leads to an address that no other host can reach.

    Attributes
    ----------
    host, address:
        The name, and what it leads to.
    line:
        The line of ``/etc/hosts`` that says so, with its number; None if it stands elsewhere.
    """

    host: str
    address: str
    line: str | None


def interface(address: str) -> str | None:
    """The network interface that holds an address of this host; None if none does."""
    held = {one.address: name for name, all in psutil.net_if_addrs().items() for one in all}
    return held.get(address)


def own_name(hosts: Path = HOSTS) -> Name | None:
    """The name of this host if it leads to a loopback address (Debian: ``127.0.1.1``), else None.

    Parameters
    ----------
    hosts:
        The file in which the line is looked for.
    """
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return None
    if not address.startswith("127."):
        return None
    lines = hosts.read_text(errors="replace").splitlines() if hosts.exists() else []
    said = (
        f"line {number}: {' '.join(text.split())}"
        for number, text in enumerate(lines, 1)
        if name in text.partition("#")[0].split()[1:] and text.split()[0] == address
    )
    return Name(name, address, next(said, None))

"""How this host is reached by others: its network interfaces, and what its own name leads to."""

import socket
from dataclasses import dataclass
from pathlib import Path

HOSTS = Path("/etc/hosts")
LOOPBACK = "127.0.0.1"
"""The address of this machine for itself, which no other machine reaches."""
LISTEN = "0A"
"""How the kernel's tables write the state of a socket that listens (``TCP_LISTEN``)."""


@dataclass(frozen=True)
class Name:
    """The name that this host calls itself, where it leads elsewhere than to its address.

    Attributes
    ----------
    host, address:
        The name, and what it leads to; None if that is nothing.
    held:
        Whether a program of this host may listen at that address.
    line:
        The line of ``/etc/hosts`` that says so, with its number; None if it stands elsewhere.
    """

    host: str
    address: str | None
    held: bool
    line: str | None


def addresses() -> dict[str, str]:
    """The network interfaces of this host and the first IPv4 address of each."""
    import psutil

    return {
        name: found[0]
        for name, all in psutil.net_if_addrs().items()
        if (found := [one.address for one in all if one.family is socket.AF_INET])
    }


def interface(address: str) -> str | None:
    """The network interface that holds an address of this host; None if none does."""
    import psutil

    held = {one.address: name for name, all in psutil.net_if_addrs().items() for one in all}
    return held.get(address)


def reserve(host: str) -> socket.socket:
    """A port of a host's address, kept from all who ask for any port until the socket is closed.

    It listens for nobody. Whoever sets ``SO_REUSEADDR`` may bind the same port meanwhile, as the
    frameworks' servers do, and of those with ``SO_REUSEPORT`` the same user alone (socket(7)).
    """
    kept = socket.socket()
    kept.bind((host, 0))
    # Not before: the kernel would give out a port that somebody else keeps in this way.
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return kept


def listeners(address: str) -> set[int]:
    """Whose sockets listen where an address of this machine (``host:port``) leads, as user ids.

    Empty for an address of another machine, and where nobody listens (proc(5), ``/proc/net/tcp``).
    """
    host, _, port = address.rpartition(":")
    if interface(host.strip("[]")) is None or not port.isdecimal():
        return set()
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        for _, local, _, state, _, _, _, user, *_ in map(str.split, rows):
            if state == LISTEN and int(local.rpartition(":")[2], 16) == int(port):
                found.add(int(user))
    return found


def own_name(reached: str, hosts: Path = HOSTS) -> Name | None:
    """The name of this host, if it leads elsewhere than to an address; None if it leads there.

    It leads to the first of its addresses that this host has: where a server listens that is told
    the name. Debian's ``127.0.1.1`` is one, as is all of 127.0.0.0/8.

    Parameters
    ----------
    reached:
        The address at which other hosts reach this one.
    hosts:
        The file in which the line is looked for.
    """
    name = socket.gethostname()
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError:
        found = []
    own = [one for one in found if one.startswith("127.") or interface(one) is not None]
    address = next(iter([*own, *found]), None)
    if address == reached:
        return None
    lines = hosts.read_text(errors="replace").splitlines() if hosts.exists() else []
    said = (
        f"line {number}: {' '.join(text.split())}"
        for number, text in enumerate(lines, 1)
        if name in text.partition("#")[0].split()[1:] and text.split()[0] == address
    )
    return Name(name, address, bool(own), next(said, None))

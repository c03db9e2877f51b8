"""Where Paddle's gloo listens on a host: at the address that the host's name leads to."""

from distlab.errors import DistlabError
from distlab.machine.network import HOSTS, own_name


def check_own_name(address: str) -> None:
    """Refuse ranks on several hosts where this host's name leads to a loopback address.

    Paddle has no setting for the interface (``GLOO_SOCKET_IFNAME`` is torch's): other hosts would
    try in vain to reach it at an address of their own.

    Parameters
    ----------
    address:
        At which other hosts reach this one.

    Raises
    ------
    DistlabError
        With the host, the address and the line that says so.
    """
    name = own_name()
    if name is not None:
        where = f" ({HOSTS}, {name.line})" if name.line else ""
        raise DistlabError(
            "framework=paddle with CPU workers on several hosts",
            f"on {name.host} the host's own name leads to {name.address}{where}; Paddle listens "
            "there, where no other host can reach it",
            f"on {name.host}, in {HOSTS}: {address} {name.host}\n"
            "or framework=torch or framework=tf, which find the address themselves",
        )

"""Where Paddle's gloo listens on a host: at the address that the host's name leads to."""

from distlab.errors import DistlabError
from distlab.machine.network import HOSTS, interface, own_name


def check_own_name(address: str) -> None:
    """Refuse ranks on several hosts where this host's name leads elsewhere than others reach it.

    Paddle has no setting for the interface (``GLOO_SOCKET_IFNAME`` is torch's): other hosts would
    try in vain to reach it, at an address of their own or one that they have no way to.

    Parameters
    ----------
    address:
        At which other hosts reach this one.

    Raises
    ------
    DistlabError
        With the host, the address and the line that says so.
    """
    name = own_name(address)
    if name is None:
        return
    where = f" ({HOSTS}, {name.line})" if name.line else ""
    there = f"{name.address}{where}" if name.address else "no address"
    found = f"on {name.host} the host's own name leads to {there}; "
    device = interface(name.address) if name.address else None
    other = ""
    if not name.held:
        found += "it has no such address, and Paddle listens at its loopback, "
    elif name.address and not name.address.startswith("127.") and device is not None:
        found += f"Paddle listens there, and other hosts are told {address}, "
        other = f"or where the others do reach {name.address}: network.interface={device}\n"
    else:
        found += "Paddle listens there, "
    raise DistlabError(
        "framework=paddle with CPU workers on several hosts",
        f"{found}where no other host can reach it" if not other else f"{found}which differs",
        f"on {name.host}, in {HOSTS}: {address} {name.host}\n"
        f"{other}or framework=torch or framework=tf, which find the address themselves",
    )

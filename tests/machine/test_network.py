"""How a host is reached: made-up names and files, and this machine's own interfaces."""

import socket
from pathlib import Path

import pytest

from distlab.machine.network import Name, addresses, interface, own_name


def called(monkeypatch: pytest.MonkeyPatch, name: str, *found: str) -> None:
    """This host has a name, which leads to addresses."""

    def lookup(asked: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if asked != name or not found:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in found]

    monkeypatch.setattr(socket, "gethostname", lambda: name)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def test_the_interface_of_an_address() -> None:
    assert interface("127.0.0.1") == "lo"
    assert interface("192.0.2.254") is None  # TEST-NET-1: nobody's
    assert addresses()["lo"] == "127.0.0.1"


def test_a_name_that_leads_to_loopback_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n\n# 127.0.1.1 node1\n127.0.1.1\tnode1.lan  node1\n")
    called(monkeypatch, "node1", "127.0.1.1")
    line = "line 4: 127.0.1.1 node1.lan node1"
    assert own_name("10.0.0.1", hosts) == Name("node1", "127.0.1.1", True, line)
    assert own_name("10.0.0.1", tmp_path / "none") == Name("node1", "127.0.1.1", True, None)


def test_a_name_leads_to_the_first_address_that_the_host_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = next((one for name, one in addresses().items() if name != "lo"), "127.0.0.1")
    called(monkeypatch, "node1", "192.0.2.254", held)
    assert own_name(held, tmp_path / "none") is None
    found = own_name("10.0.0.1", tmp_path / "none")
    assert found is not None and (found.address, found.held) == (held, True)
    called(monkeypatch, "node1", "192.0.2.254")
    found = own_name(held, tmp_path / "none")
    assert found is not None and (found.address, found.held) == ("192.0.2.254", False)
    called(monkeypatch, "node1")
    assert own_name(held, tmp_path / "none") == Name("node1", None, False, None)

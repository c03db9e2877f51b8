"""How a host is reached: made-up names and files, and this machine's own interfaces."""

import socket
from pathlib import Path

import pytest

from distlab.machine.network import Name, interface, own_name


def called(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    monkeypatch.setattr(socket, "gethostbyname", {name: address}.__getitem__)


def test_the_interface_of_an_address() -> None:
    assert interface("127.0.0.1") == "lo"
    assert interface("192.0.2.254") is None  # TEST-NET-1: nobody's


def test_a_name_that_leads_to_loopback_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n\n# 127.0.1.1 node1\n127.0.1.1\tnode1.lan  node1\n")
    called(monkeypatch, "node1", "127.0.1.1")
    assert own_name(hosts) == Name("node1", "127.0.1.1", "line 4: 127.0.1.1 node1.lan node1")
    assert own_name(tmp_path / "none") == Name("node1", "127.0.1.1", None)


def test_other_names_are_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called(monkeypatch, "node1", "10.0.0.1")
    assert own_name(tmp_path) is None

    def unknown(_: str) -> str:
        raise socket.gaierror

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    assert own_name(tmp_path) is None

"""What is told of a name that leads elsewhere; no Paddle is needed, nor two hosts."""

import pytest

from distlab.backends.paddle import addresses
from distlab.errors import DistlabError
from distlab.machine.network import Name


@pytest.mark.parametrize(
    ("name", "found", "fix"),
    [
        (
            Name("red", "127.0.1.1", True, "line 2: 127.0.1.1 red"),
            "leads to 127.0.1.1 (/etc/hosts, line 2: 127.0.1.1 red); Paddle listens there",
            "on red, in /etc/hosts: 10.0.0.1 red",
        ),
        (Name("red", "192.0.2.254", False, None), "it has no such address", "10.0.0.1 red"),
        (Name("red", None, False, None), "leads to no address", "10.0.0.1 red"),
        (
            Name("red", "172.17.0.1", True, None),
            "other hosts are told",
            "network.interface=docker0",
        ),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_with_its_line_and_what_to_mend(
    name: Name, found: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "own_name", lambda _: name)
    monkeypatch.setattr(addresses, "interface", {"172.17.0.1": "docker0"}.get)
    with pytest.raises(DistlabError) as caught:
        addresses.check_own_name("10.0.0.1")
    assert found in caught.value.found
    assert fix in caught.value.fix


def test_a_name_that_leads_to_the_address_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "own_name", lambda _: None)
    addresses.check_own_name("10.0.0.1")

from collections.abc import Callable
from dataclasses import replace

import pytest

from distlab.cluster.actor import Seat
from distlab.cluster.start import local_ray, seats
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.outcome import environment

OWN = Seat("node", "host", "127.0.0.1:1", "lo", "lo (127.0.0.1)", environment.code(), guarded=True)
OPEN = replace(OWN, guarded=False)


def test_on_this_machine_workers_that_others_could_reach_are_refused_unless_that_is_asked(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_ray, "unguarded", "no C compiler is on the PATH (cc)")
    options = experiment("gpus=2").options
    seats.check([OWN, OWN], options)
    seats.check([OPEN], options)  # listens for nobody
    with pytest.raises(DistlabError) as caught:
        seats.check([OWN, OPEN], options)
    assert "no C compiler" in caught.value.found
    assert "cluster.open_ports=true" in caught.value.fix
    seats.check([OWN, OPEN], experiment("gpus=2", "cluster.open_ports=true").options)
    seats.check([OWN, OPEN], experiment("gpus=2", "cluster=existing").options)


def test_on_another_ray_workers_have_the_commands_distlab(
    experiment: Callable[..., Experiment],
) -> None:
    other = replace(OPEN, host="far", code="0.0.1")
    with pytest.raises(DistlabError, match=r"on far it is 0\.0\.1"):
        seats.check([OPEN, other], experiment("gpus=2", "cluster=existing").options)


def test_an_interface_that_a_host_lacks_is_refused_with_those_that_it_has(
    experiment: Callable[..., Experiment],
) -> None:
    options = experiment("gpus=2", "cluster=existing", "network.interface=ib0").options
    seats.check([replace(OWN, interface="ib0")], options)
    far = replace(OWN, host="far", interface=None, interfaces="lo (127.0.0.1), eth0 (10.0.0.2)")
    with pytest.raises(DistlabError) as caught:
        seats.check([replace(OWN, interface="ib0"), far], options)
    assert caught.value.asked == "network.interface=ib0"
    assert "far has no such interface" in caught.value.found
    assert "eth0 (10.0.0.2)" in caught.value.found
    seats.check([far], experiment("gpus=2", "cluster=existing").options)

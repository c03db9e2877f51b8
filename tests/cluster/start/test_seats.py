from collections.abc import Callable
from dataclasses import replace

import pytest

from distlab.cluster.actor import Seat
from distlab.cluster.start import local_ray, seats
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.outcome import environment

OWN = Seat("node", "host", "127.0.0.1:1", environment.code(), guarded=True)
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

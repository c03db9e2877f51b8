"""What follows where Ray's own library meets a broken connection."""

from typing import Any

import pytest

from distlab.cluster import connect
from distlab.cluster.watch.head import Head
from distlab.errors import RayLostError


class Ray:
    """A Ray that is there, or lost."""

    def __init__(self, lost: bool) -> None:
        self._lost = lost

    def check(self, now: bool) -> None:
        if self._lost:
            raise RayLostError("Ray is lost", "logs")


@pytest.mark.parametrize(("lost", "told"), [(True, RayLostError), (False, BrokenPipeError)])
def test_a_broken_pipe_is_told_as_the_loss_of_ray_where_it_is_lost(
    lost: bool, told: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Any] = []
    monkeypatch.setattr(Head, "connected", lambda: Ray(lost))
    monkeypatch.setattr(connect, "leave_lost", lambda: left.append(None))
    with pytest.raises(told), connect.left_when_lost():
        raise BrokenPipeError(32, "Broken pipe")
    assert len(left) == lost

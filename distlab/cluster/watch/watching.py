"""The watch over the ranks of one run, whichever engine places them."""

import socket
from collections.abc import Iterable, Iterator

from distlab.cluster.logs import log_of
from distlab.cluster.watch import witness
from distlab.cluster.watch.head import Head
from distlab.cluster.watch.silence import Silence
from distlab.errors import RayLostError, StalledError
from distlab.machine.process import Doing
from distlab.outcome.events import Event, Notice, Started

TURN_S = 0.25
"""How long the driver's loop waits for events at most, before it looks around."""


class Watch:
    """The watch over the ranks of one run, from their first words on.

    Parameters
    ----------
    world_size:
        How many ranks there are.
    silence_timeout_s:
        ``cluster.silence_timeout_s``.
    """

    def __init__(self, world_size: int, silence_timeout_s: float | None) -> None:
        self._silence = Silence(world_size, silence_timeout_s)
        self._head = Head.connected()
        self._started: dict[int, Started] = {}

    def heard(self, event: Event) -> None:
        """A rank has told something."""
        if isinstance(event, Started):
            self._started[event.rank] = event
        self._silence.heard(event)

    def turn(self) -> Iterator[Notice]:
        """Look after the ranks and Ray, and tell who has been silent for long; each :data:`TURN_S`.

        Raises
        ------
        StalledError
            If a rank has been silent for too long.
        RayLostError
            If Ray itself is gone.
        """
        self._look()
        self._silence.turn()
        if not self._head.answers:
            return  # who does what is asked through it
        failed = self._silence.failed()
        told = failed or self._silence.warned()
        if not told:
            return
        found = self.doing(told)
        guilty = witness.blamed(found)
        lines = [
            f"worker {rank} on {self._started[rank].host} has told nothing for "
            f"{self._silence.seconds(rank):.0f} s: {found[rank]}"
            for rank in guilty
        ]
        if failed:
            raise StalledError("; ".join(lines), log_of(self._started[guilty[0]]), guilty)
        for rank, line in zip(guilty, lines, strict=True):
            yield Notice(f"{line}; after {self._silence.limit_s(rank):.0f} s it counts as failed")

    def ray_is_there(self) -> None:
        """Raise RayLostError if Ray is gone, of which all that workers seem to have follows."""
        self._look(now=True)

    def end(self, ranks: Iterable[int]) -> None:
        """End the processes of ranks that cannot be asked to."""
        witness.end([self._started[rank] for rank in ranks])

    def seconds(self, rank: int) -> float:
        """For how long a rank has told nothing."""
        return self._silence.seconds(rank)

    def out_of_memory(self, rank: int) -> str:
        """What to add to the death of a rank if its host's kernel ended processes meanwhile."""
        one = self._started.get(rank)
        if one is None or one.ended_for_memory is None or not self._askable([one]):
            return ""
        now = witness.ended_for_memory(one)
        if now is None or now <= one.ended_for_memory:
            return ""
        count = now - one.ended_for_memory
        return (
            f"; since it started, the kernel of {one.host} has ended {count} "
            f"process{'es' if count > 1 else ''} for want of memory: fewer workers, a smaller "
            "batch, or more memory"
        )

    def doing(self, ranks: Iterable[int]) -> dict[int, Doing]:
        """What ranks do, as far as they have started."""
        known = {rank: self._started[rank] for rank in ranks if rank in self._started}
        askable = self._askable(known.values())
        return witness.look({rank: one for rank, one in known.items() if one in askable})

    def _look(self, now: bool = False) -> None:
        """Look whether Ray is there; if not, nobody else ends the ranks of this host."""
        try:
            self._head.check(now)
        except RayLostError:
            witness.end(filter(_is_here, self._started.values()))
            raise

    def _askable(self, ranks: Iterable[Started]) -> list[Started]:
        """Those whose hosts can be asked: those of this one, and all while the head answers."""
        every = list(ranks)
        here = list(filter(_is_here, every))
        if len(here) < len(every):
            self._look(now=True)
            return every if self._head.answers else here
        return here


def _is_here(rank: Started) -> bool:
    return rank.host == socket.gethostname()

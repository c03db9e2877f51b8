"""Which ranks have told nothing for longer than they should.

Ray asks a worker whether it lives, and a thread of the worker's answers: a rank that hangs, or
waits in a collective for one that is stopped, lives as far as Ray can tell. So ranks tell where
they are, between steps at least every :data:`distlab.worker.epoch.BEAT_S` seconds, and the driver
counts for how long each has told nothing.
"""

import time
from dataclasses import dataclass, field

from distlab.outcome.events import Begun, EpochDone, Event, Finished, Notice, Progress, Ready

SHORTEST_S = 60.0
"""No silence is a failure before."""
PATIENCE = 10.0
"""How many times as long as a rank's slowest span, and as its whole start, it may be silent."""
TURN_S = 2.0
"""A turn of the driver's loop counts for no more: it may have been stopped, or its machine."""
WARNED_AT = 0.5
"""The part of the limit after which a silence is told."""


@dataclass
class Silence:
    """For how long each rank of one run has told nothing, from the moment on when all are ready.

    Attributes
    ----------
    world_size:
        How many ranks there are.
    asked_s:
        ``cluster.silence_timeout_s``; None for a limit from each rank's own times.
    """

    world_size: int
    asked_s: float | None = None
    _silent: dict[int, float] = field(default_factory=dict)
    _limits: dict[int, float] = field(default_factory=dict)
    _promised: dict[int, float] = field(default_factory=dict)
    _warned: set[int] = field(default_factory=set)
    _turned: float = field(default_factory=lambda: time.monotonic())

    def heard(self, event: Event) -> None:
        """A rank has told something, and with it how long its next words may take."""
        if isinstance(event, Notice | Begun):
            return
        rank, before = event.rank, self._limits.get(event.rank, 0.0)
        self._warned.discard(rank)
        self._promised[rank] = 0.0
        match event:
            case Ready(seconds=seconds):
                self._limits[rank] = PATIENCE * sum(seconds.values())
            case EpochDone(window=window):
                slowest = PATIENCE * max((took for _, took in window.spans), default=0.0)
                self._limits[rank] = max(before, slowest)
            case Progress(quiet_s=quiet_s):
                self._promised[rank] = quiet_s
        if rank in self._limits:
            self._silent[rank] = 0.0
        if isinstance(event, Finished):
            del self._silent[rank]

    def turn(self) -> None:
        """The driver has waited once more; call it at least every two seconds."""
        now = time.monotonic()
        if len(self._limits) == self.world_size:
            for rank in self._silent:
                self._silent[rank] += min(now - self._turned, TURN_S)
        self._turned = now

    def limit_s(self, rank: int) -> float:
        """After how many seconds without a word a rank counts as failed."""
        told = max(self._limits.get(rank, 0.0), self._promised.get(rank, 0.0))
        return self.asked_s or max(SHORTEST_S, told)

    def warned(self) -> list[int]:
        """Ranks whose silence is to be told, each once until it speaks again."""
        new = set(self._beyond(WARNED_AT)) - self._warned
        self._warned |= new
        return sorted(new)

    def failed(self) -> list[int]:
        """Ranks that are silent beyond their limit.

        All that are silent for about as long stand among them: where one hangs, the others wait.
        """
        return self._beyond(WARNED_AT) if self._beyond(1.0) else []

    def seconds(self, rank: int) -> float:
        """For how long a rank has told nothing."""
        return self._silent.get(rank, 0.0)

    def _beyond(self, part: float) -> list[int]:
        return [
            rank for rank, seconds in self._silent.items() if seconds > part * self.limit_s(rank)
        ]

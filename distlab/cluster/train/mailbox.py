"""Where ranks and Ray Train's controller leave what they tell, and the driver fetches it.

An actor of its own, beside the driver: what lies in it outlives the ranks, their nodes and the
controller. Ray Train's own ``report`` is a queue of one, emptied when the controller looks.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distlab.cluster.actor import Seat
from distlab.outcome.events import Event


@dataclass(frozen=True)
class Start:
    """From what a group starts: the newest state, and its folder, as its ranks are told them.

    Both are as in :class:`~distlab.cluster.actor.Assignment` and
    :class:`~distlab.backends.base.Placement`.
    """

    state: list[Any]
    folder: str | None


@dataclass(frozen=True)
class Steered:
    """Ray Train's controller runs; ``controller`` is its handle."""

    controller: Any


@dataclass(frozen=True)
class Seated:
    """A group of workers is placed: its number, from 1, and the seats of its ranks."""

    attempt: str
    seats: list[Seat]


@dataclass(frozen=True)
class Lost:
    """Workers of a group are lost: by rank why they died, and what others met therefore or so."""

    died: dict[int, str]
    failed: dict[int, str]


@dataclass(frozen=True)
class Told:
    """What a rank of a group tells."""

    attempt: str
    event: Event


Message = Steered | Seated | Lost | Told


class Mailbox:
    """The actor: messages as bytes, so that it need not import what they are of."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._come = asyncio.Event()
        self._starts: dict[str, Start] = {}
        self._decided = asyncio.Condition()

    async def put(self, message: bytes) -> None:
        """Leave a message."""
        self._messages.append(message)
        self._come.set()

    async def take(self, timeout: float) -> list[bytes]:
        """All there is; if there is nothing, what comes within ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._come.wait(), timeout)
        self._come.clear()
        taken, self._messages = self._messages, []
        return taken

    async def decide(self, attempt: str, start: Start) -> None:
        """Say from what a group is to start."""
        async with self._decided:
            self._starts[attempt] = start
            self._decided.notify_all()

    async def start(self, attempt: str) -> Start:
        """From what a group is to start, as soon as the driver has said so."""
        async with self._decided:
            await self._decided.wait_for(lambda: attempt in self._starts)
            return self._starts[attempt]


def opened() -> Any:
    """A new mailbox on this node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()


def put(mailbox: Any, message: Message) -> Any:
    """Leave a message; what is returned is Ray's promise that it has come."""
    return mailbox.put.remote(cloudpickle.dumps(message))


def asked(mailbox: Any, timeout: float) -> Any:
    """Ray's promise of what :meth:`Mailbox.take` gives; read it with :func:`taken`."""
    return mailbox.take.remote(timeout)


def taken(promise: Any) -> list[Message]:
    """All messages that there were."""
    return [cloudpickle.loads(one) for one in ray.get(promise)]

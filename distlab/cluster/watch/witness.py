"""What silent ranks do, looked at on the hosts where they are."""

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distlab.cluster.start.waiting import alive
from distlab.machine import process
from distlab.machine.process import Doing, doing, kill
from distlab.outcome.events import Started

LOOK_S = 20.0
"""How long a look on other hosts may take, where Ray starts a process for it."""
STOPPED = frozenset({"stopped", "held by a debugger", "ended", "not to be reached"})
"""States in which a process does nothing more by itself."""
LOOP = "distlab/worker/loop.py"


def look(ranks: Mapping[int, Started]) -> dict[int, Doing]:
    """What each of these ranks does; ``Doing("not to be reached")`` where nobody can look."""
    asked = {
        rank: there(doing, node).remote(one.pid, one.log, LOOP)
        for rank, one in ranks.items()
        if one.host != socket.gethostname() and (node := node_of(one))
    }
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=LOOK_S)
    found = {}
    for rank, one in ranks.items():
        found[rank] = Doing("not to be reached")
        if one.host == socket.gethostname():
            found[rank] = doing(one.pid, one.log, LOOP)
        elif rank in asked:
            with suppress(RayError):
                found[rank] = ray.get(asked[rank], timeout=0)
    return found


def ended_for_memory(rank: Started) -> int | None:
    """How many processes the kernel of a rank's host has ended for want of memory, if it tells."""
    if rank.host == socket.gethostname():
        return process.ended_for_memory()
    if (node := node_of(rank)) is not None:
        asked = there(process.ended_for_memory, node).remote()
        with suppress(RayError):
            found: int | None = ray.get(asked, timeout=LOOK_S)
            return found
    return None


def end(ranks: Iterable[Started]) -> None:
    """End the processes of ranks, wherever they are."""
    for one in ranks:
        if one.host == socket.gethostname():
            kill(one.pid)
        elif node := node_of(one):
            there(kill, node).remote(one.pid)


def blamed(found: Mapping[int, Doing]) -> list[int]:
    """The ranks that keep the others waiting, as far as what they do tells; else all.

    Who is stopped or gone does; else who computes while others wait.
    """
    for guilty in (STOPPED, {"running"}):
        ranks = [rank for rank, one in found.items() if one.state in guilty]
        if ranks:
            return sorted(ranks)
    return sorted(found)


def node_of(rank: Started) -> str | None:
    """The id of the node of Ray's on a rank's host; None if it does not live."""
    found = [node for node in alive() if node["NodeManagerHostname"] == rank.host]
    at = [node for node in found if node["NodeManagerAddress"] == rank.address]
    return next((node["NodeID"] for node in at or found), None)


def there(what: Any, node: str) -> Any:
    """Something that is done on a node, and takes no place there."""
    on_node = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(what).options(num_cpus=0, max_retries=0, scheduling_strategy=on_node)

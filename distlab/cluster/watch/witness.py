"""What silent ranks do, looked at on the hosts where they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distlab.machine.process import Doing, doing

LOOK_S = 20.0
"""How long a look on other hosts may take, where Ray starts a process for it."""
LOOP = "distlab/worker/loop.py"


@dataclass(frozen=True)
class Where:
    """Where the process of a rank is.

    Attributes
    ----------
    node, host:
        The id of its node in Ray, and the node's name.
    pid, log:
        Its number there, and the file there to which all goes that it prints.
    """

    node: str
    host: str
    pid: int
    log: str


def look(ranks: Mapping[int, Where]) -> dict[int, Doing]:
    """What each of these ranks does; ``Doing("not to be reached")`` where nobody can look."""
    here = ray.get_runtime_context().get_node_id()
    asked = {
        rank: _look_there(one.node).remote(one.pid, one.log, LOOP)
        for rank, one in ranks.items()
        if one.node != here
    }
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=LOOK_S)
    found = {}
    for rank, one in ranks.items():
        try:
            found[rank] = (
                ray.get(asked[rank], timeout=0) if rank in asked else doing(one.pid, one.log, LOOP)
            )
        except RayError:
            found[rank] = Doing("not to be reached")
    return found


def blamed(found: Mapping[int, Doing]) -> list[int]:
    """The ranks that keep the others waiting, as far as what they do tells; else all.

    Who is stopped or gone does; else who computes while others wait.
    """
    for guilty in (("stopped", "held by a debugger", "ended", "not to be reached"), ("running",)):
        ranks = [rank for rank, one in found.items() if one.state in guilty]
        if ranks:
            return sorted(ranks)
    return sorted(found)


def _look_there(node: str) -> Any:
    """A look on a node, which takes no place there."""
    on_node = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(doing).options(num_cpus=0, max_retries=0, scheduling_strategy=on_node)

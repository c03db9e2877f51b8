"""How many workers a run has under Ray Train: always the same, or what there is room for."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.train.v2._internal.execution.scaling_policy import (
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
    ScalingPolicy,
)

from distlab.cluster.train import mailbox

LOOK_S = 15.0
"""How often it is looked whether there is room for more workers; more of them begin anew from the
last state, which costs a start."""
SETTLE_S = 3.0
"""How long it takes at most until Ray knows that places are free which a lost group had."""
START_S = 30.0
"""How long a group waits for places that seemed free, before it is counted anew."""


def most(
    sizes: Sequence[int],
    worker: Mapping[str, float],
    free: Mapping[str, Mapping[str, float]],
    own: Mapping[str, int] | None = None,
) -> int:
    """The largest of some numbers of workers for which there is room; the least if there is none.

    Parameters
    ----------
    sizes:
        The numbers that are possible, the least first.
    worker:
        What a worker takes of each resource.
    free:
        What is free of each resource, by node.
    own:
        How many workers the run has on each node; their places count as free.
    """
    taken = own or {}
    places = 0
    for node in {*free, *taken}:
        has = free.get(node, {})
        each = [int(has.get(name, 0.0) / need + 1e-9) for name, need in worker.items() if need > 0]
        places += taken.get(node, 0) + (min(each) if each else sizes[-1])
    return max((size for size in sizes if size <= places), default=sizes[0])


class Sizes(ScalingPolicy):
    """Ray Train's policy: a group as large as there is room for, of one of some sizes.

    Ray Train's own counts what nodes have and not what is free, knows no sizes between that do not
    divide the batch, and asks a coordinator of autoscaling, which is a process that outlives the
    command on a Ray that goes on. An autoscaler learns of the least number, from the places that
    are asked for.

    Parameters
    ----------
    scaling_config:
        Ray Train's.
    box:
        The driver's mailbox.
    sizes:
        The sizes, the least first; one where it is always the same.
    """

    def __init__(self, scaling_config: Any, box: Any, sizes: Sequence[int]) -> None:
        super().__init__(scaling_config)
        self._mailbox, self._sizes = box, tuple(sizes)
        self._looked = 0.0

    def after_controller_start(self, train_run_context: Any) -> None:
        """Tell the driver who the controller is."""
        me = ray.get_runtime_context().current_actor
        ray.get(mailbox.put(self._mailbox, mailbox.Steered(me)))

    async def before_controller_shutdown(self) -> None:
        """Nothing was asked for that is to be given back."""

    def before_controller_abort(self) -> None:
        """Nothing was asked for that is to be given back."""

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """How large the next group is."""
        size, deadline = self._sizes[0], time.monotonic() + SETTLE_S
        while len(self._sizes) > 1:
            size = most(self._sizes, self._worker, available_resources_per_node())
            if size == self._sizes[-1] or time.monotonic() > deadline:
                break
            time.sleep(SETTLE_S / 10)
        self._looked = time.monotonic()
        return ResizeDecision(size, dict(self._worker))

    def make_decision_for_running_worker_group(
        self, worker_group_state: Any, worker_group_status: Any
    ) -> ScalingDecision:
        """Whether a larger group takes the place of one that runs."""
        now = time.monotonic()
        if len(self._sizes) == 1 or now - self._looked < LOOK_S:
            return NoopDecision()
        self._looked = now
        own: dict[str, int] = {}
        for worker in worker_group_state.workers:
            own[worker.metadata.node_id] = own.get(worker.metadata.node_id, 0) + 1
        size = most(self._sizes, self._worker, available_resources_per_node(), own)
        if size <= worker_group_state.num_workers:
            return NoopDecision()
        return ResizeDecision(size, dict(self._worker))

    def _get_num_workers_for_resource_request(self) -> int:
        return self._sizes[-1]

    @property
    def _worker(self) -> Mapping[str, float]:
        worker: Mapping[str, float] = self.scaling_config._resources_per_worker_not_none
        return worker

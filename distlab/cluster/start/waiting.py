"""The wait for workers: for room on Ray, then for their processes; and why it takes so long."""

import json
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.core.generated import autoscaler_pb2
from ray.exceptions import RayError, RuntimeEnvSetupError
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.placement_group import PlacementGroup, placement_group_table

from distlab.cluster.actor import Seat
from distlab.cluster.start import interpreter
from distlab.cluster.start.causes import cause, node_of
from distlab.cluster.watch.head import Head
from distlab.errors import DistlabError, WorkerError
from distlab.experiment.options import Options
from distlab.outcome.events import Notice

SIGNALS_S = 1.0
"""How often the driver, which waits for workers, sees to Ctrl-C."""
PATIENCE_S = 5.0
"""After how long a wait its reason is looked for and told."""

ANSWER_S = 10.0
"""How long Ray's head may take to say how its autoscaler stands."""
OF_RAY = ("ray._private", "ray::")
"""How the command of a job begins that is one of Ray's own processes."""
UNNAMED = "node_"
"""How the name of a node's kind begins where nobody gave it one."""


class Wait:
    """A wait for workers: its reason is looked for once it takes long, and it has an end.

    Parameters
    ----------
    options:
        What the workers are for.
    workers:
        How many there are to be.
    deadline:
        When that is too late, in seconds of :func:`time.monotonic`.
    """

    def __init__(self, options: Options, workers: int, deadline: float) -> None:
        self._options, self._workers, self._deadline = options, workers, deadline
        self._state, self._since, self._why = "", time.monotonic(), ""
        self._told: set[str] = set()

    def told(self, table: dict[str, Any], missing: list[int]) -> Iterator[Notice]:
        """Tell, once for each state of their places, why workers are still missing.

        Parameters
        ----------
        table:
            What Ray says of their placement group.
        missing:
            Which of its places have no worker yet.

        Raises
        ------
        DistlabError
            If their environment is a mistake, or it is too late.
        """
        now, state = time.monotonic(), table["state"]
        if state != self._state:
            self._state, self._since = state, now
        if state not in self._told and now >= min(self._since + PATIENCE_S, self._deadline):
            self._told.add(state)
            if state == "CREATED":
                nodes = {index: table["bundles_to_node_id"][index] for index in missing}
                self._look_at_interpreters(nodes)
                hosts = ", ".join(dict.fromkeys(map(host_of, nodes.values())))
                self._why = f"{len(missing)} of {self._workers} processes do not run yet on {hosts}"
            else:
                self._why = no_room(table)
            yield Notice(f"waiting: {self._why}")
        if now > self._deadline:
            limit = f"{self._options.cluster.start_timeout_s:g}"
            raise DistlabError(
                f"{self._workers} workers within cluster.start_timeout_s={limit} seconds",
                self._why,
                "try again when there is room, or with fewer workers: gpus=N\n"
                "or allow more: cluster.start_timeout_s=600",
                may_pass=True,
            )

    def _look_at_interpreters(self, nodes: dict[int, str]) -> None:
        """Refuse an environment in which no worker can run, on any of the nodes."""
        runtime_env = interpreter.fields(self._options.framework)
        looked: set[str] = set()
        for index, node in nodes.items():
            here = node == ray.get_runtime_context().get_node_id()
            if node not in looked and (here or "py_executable" in runtime_env):
                looked.add(node)
                where = f"worker {index} on {host_of(node)}: "
                interpreter.refuse_if_unfit(self._options.framework, node, where)


@dataclass
class Request:
    """Workers that were asked for.

    Attributes
    ----------
    options:
        What the workers are for.
    places:
        Where they are to be.
    seats:
        For each worker, Ray's promise of its :class:`~distlab.cluster.actor.Seat`.
    """

    options: Options
    places: PlacementGroup
    seats: list[Any]

    def answered(self, deadline: float, log: str) -> Generator[Notice, None, list[Seat]]:
        """Wait for all workers, and tell once why that takes long; returns their seats.

        Raises
        ------
        DistlabError
            If their environment is a mistake, or there are not all of them by the deadline.
        WorkerError
            If one died.
        RayLostError
            If Ray itself is gone.
        """
        wait = Wait(self.options, len(self.seats), deadline)
        head = Head.connected()
        while True:
            head.check()
            left = min(SIGNALS_S, max(0.0, deadline - time.monotonic()))
            done, missing = ray.wait(self.seats, num_returns=len(self.seats), timeout=left)
            for seat in done:
                try:
                    ray.get(seat)
                except RayError as error:
                    raise self._not_started(self.seats.index(seat), error, log) from error
            if not missing:
                found: list[Seat] = ray.get(self.seats)
                return found
            if not head.answers:
                time.sleep(SIGNALS_S)
                continue  # it alone knows of places
            late = [self.seats.index(seat) for seat in missing]
            yield from wait.told(placement_group_table(self.places), late)

    def _not_started(self, index: int, error: RayError, log: str) -> Exception:
        """The error for a worker that Ray could not start."""
        address = node_of(error)
        named = [node["NodeManagerHostname"] for node in alive() if _address(node) == address]
        where = f"worker {index}" + (f" on {named[0] if named else address}" if address else "")
        why = cause(error)
        if isinstance(error, RuntimeEnvSetupError):
            fields = self.options.framework.runtime_env
            return DistlabError(
                f"framework.runtime_env={fields}",
                f"{where}: Ray could not make this environment: {why}",
                "what it names must be on each node of Ray; "
                "an environment that exists: 'framework.runtime_env={py_executable: PYTHON}'",
            )
        if "No module named 'distlab" in why:
            return DistlabError(
                f"{where} with distlab",
                f"distlab is not installed there, or another version of it: {why}",
                "install the distlab of this command on each node of Ray, "
                "in the environment that Ray was started from",
            )
        return WorkerError(f"{where} did not start: {why}", log)


def no_room(own: dict[str, Any]) -> str:
    """What workers need, what of it is free, and who holds the rest.

    ``own`` is what Ray's table says of their placement group.
    """
    needed = _sum(own["bundles"].values())
    total, free = ray.cluster_resources(), ray.available_resources()
    counts = [
        f"{needed[name]:g} {name}s are needed, {free.get(name, 0):g} of {total.get(name, 0):g} free"
        for name in needed
    ]
    if autoscaled():
        counts.append("Ray's autoscaler is asked for more nodes")
    elif own["stats"]["scheduling_state"] == "INFEASIBLE":
        counts.append("no node is large enough for one worker")
    held: dict[str, dict[str, float]] = {}
    for group in placement_group_table().values():
        if group["state"] == "CREATED":
            # The last four bytes of its id are those of its job's.
            bundles = held.setdefault(group["placement_group_id"][-8:], {})
            for name, amount in _sum(group["bundles"].values()).items():
                bundles[name] = bundles.get(name, 0) + amount
    holders = [
        _job(job) + "".join(f", {n:g} {name}s" for name, n in held.get(job["JobID"], {}).items())
        for job in ray._private.state.state.job_table()
        if not job["IsDead"] and not job["Entrypoint"].startswith(OF_RAY)
    ]
    return "; ".join(counts) + "".join(f"\n  {one}" for one in ["in use by:", *holders][:9])


def autoscaled() -> bool:
    """Whether an autoscaler looks after this Ray, which adds nodes when they are asked for.

    It knows its nodes by the names of their kinds. The one that ``ray start`` has without a
    configuration adds none, and calls each node by its id; KubeRay's may be switched off, and then
    reports nothing.
    """
    worker: Any = ray._private.worker.global_worker
    kinds: set[str] = set()
    told = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    with suppress(ValueError, TypeError, AttributeError):
        report = json.loads(told)["autoscaler_report"]
        kinds |= {*report["active_nodes"], *report["pending_launches"]}
    messages: Any = autoscaler_pb2
    reply = messages.GetClusterStatusReply()
    reply.ParseFromString(worker.gcs_client.get_cluster_status(timeout_s=ANSWER_S))
    if reply.autoscaling_state.autoscaler_state_version > 0:
        kinds |= {node.ray_node_type_name for node in reply.cluster_resource_state.node_states}
    return any(kind and not kind.startswith(UNNAMED) for kind in kinds)


def alive() -> list[dict[str, Any]]:
    """Ray's nodes that live."""
    return [node for node in ray.nodes() if node["Alive"]]


def host_of(node_id: str) -> str:
    """The host name of a node of Ray's, or its id where it is gone."""
    return next((n["NodeManagerHostname"] for n in alive() if n["NodeID"] == node_id), node_id)


def _address(node: dict[str, Any]) -> str:
    return str(node["NodeManagerAddress"])


def _job(job: dict[str, Any]) -> str:
    """A job of Ray's, so that a person can find it."""
    own = job["JobID"] == ray.get_runtime_context().get_job_id()
    who = "this command" if own else str(job["Entrypoint"])[:80]
    return f"job {job['JobID']}: {who} (process {job['DriverPid']} on {job['DriverIPAddress']})"


def _sum(bundles: Any) -> dict[str, float]:
    """Resources of several bundles together."""
    total: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0) + amount
    return total

"""What distlab adds to Ray Train's controller: who sits where, which sizes, and what it tells.

No framework is imported here, and nothing of :mod:`ray.train` that would import one.
"""

import functools
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import (
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from distlab.cluster.group import IDLE_CPU
from distlab.cluster.start.causes import cause
from distlab.cluster.train import mailbox, rank
from distlab.cluster.train.scaling import START_S, Sizes
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode
from distlab.files import slug

SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    # How often the controller looks at the ranks: so much later it knows of one that died.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A process that is stopped answers nothing; Ray Train itself would wait for ten minutes.
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "30",
    # Workers write into the run's folder, and are told where.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""What Ray Train reads in the environment, unless the user's says otherwise."""


STARTS = 20
"""How many starts of a group may fail: the driver gives up when its own time is over."""


@dataclass
class Meeting(BackendConfig):
    """Gives each new group of workers its endpoints, before their train functions start."""

    mailbox: Any
    sizes: tuple[int, ...]
    interface: str | None = None

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray Train calls."""
        return _Meeting


class _Meeting(Backend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Ask the workers, which stand in the order of their ranks, where they are."""
        attempt, interface = uuid.uuid4().hex, backend_config.interface
        seats = worker_group.execute(rank.sit, interface)
        worker_group.execute(rank.meet, attempt, tuple(seat.endpoint for seat in seats))
        ray.get(mailbox.put(backend_config.mailbox, mailbox.Seated(attempt, seats)))


class Telling(UserCallback):
    """Tells why a group of workers ends early."""

    def __init__(self, box: Any) -> None:
        self._mailbox = box

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called in the controller when workers failed; Ray Train then decides what to do."""
        lost = mailbox.Lost({}, {})
        for number, error in worker_exceptions.items():
            if isinstance(error, WorkerHealthCheckFailedError):
                lost.died[number] = cause(error.health_check_failure)
            elif isinstance(error, WorkerHealthCheckTimeoutError):
                lost.died[number] = "it does not answer"
            else:
                lost.failed[number] = cause(error)
        ray.get(mailbox.put(self._mailbox, lost))


def set_up(environment: MutableMapping[str, str], experiment: Experiment) -> None:
    """Set in an environment what Ray Train reads there; what the user has set stays."""
    cluster = experiment.options.cluster
    existing = cluster.mode is ClusterMode.existing
    wait = START_S if experiment.sizes else cluster.start_timeout_s
    for name, value in {
        **SETTINGS,
        # How long it waits for places; the driver gives up when its own time is over.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": f"{wait}",
        # This machine tells of no preemption, and is no node that others look at.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": str(int(existing)),
        "RAY_TRAIN_ENABLE_STATE_TRACKING": str(int(existing and has_dashboard())),
    }.items():
        environment.setdefault(name, value)


def has_dashboard() -> bool:
    """Whether the user's Ray has a dashboard, which then has a page on the run."""
    node = ray._private.worker._global_node
    return bool(node and node.address_info.get("webui_url"))


def trainer(
    experiment: Experiment,
    duty: rank.Duty,
    storage: str,
    runtime_env: dict[str, Any] | None,
    failures: int,
) -> "Trainer":
    """The trainer for a run.

    Parameters
    ----------
    experiment:
        What is to be run.
    duty:
        What its ranks are told.
    storage:
        A folder for what Ray Train writes, on this node.
    runtime_env:
        Ray's environment of the workers.
    failures:
        How many failures of workers it survives.
    """
    options = experiment.options
    local = options.cluster.mode is ClusterMode.local
    configured: Any = RunConfig(
        name=slug(f"{options.framework.name}-{options.model.name}"),
        storage_path=storage,
        failure_config=FailureConfig(max_failures=failures, controller_failure_limit=STARTS),
        callbacks=[Telling(duty.mailbox)],
        worker_runtime_env=runtime_env,
    )
    sizes = experiment.sizes or (experiment.world_size,)
    # Where the number of workers follows from what is free, they take what they use.
    idle = local and len(sizes) == 1
    resources = {"CPU": IDLE_CPU if idle else options.threads_per_worker}
    return Trainer(
        functools.partial(rank.train, duty),
        backend_config=Meeting(duty.mailbox, sizes, options.network.interface),
        scaling_config=ScalingConfig(
            num_workers=sizes[-1],
            use_gpu=experiment.device == "gpu",
            placement_strategy=options.placement.upper(),
            resources_per_worker=resources | ({"GPU": 1} if experiment.device == "gpu" else {}),
        ),
        run_config=configured,
    )


class Trainer(DataParallelTrainer):
    """Ray Train's trainer with these policies, and without the actor that outlives it.

    Ray Train starts a detached actor that gives places back if the controller dies. Here the driver
    does so, which lives as long.
    """

    def _create_default_callbacks(self) -> list[Any]:
        made = super()._create_default_callbacks()
        return [one for one in made if not isinstance(one, PlacementGroupCleanerCallback)]

    def _initialize_and_run_controller(self, **told: Any) -> Any:
        assert isinstance(self.backend_config, Meeting)
        box, sizes = self.backend_config.mailbox, self.backend_config.sizes
        policy = Sizes(self.scaling_config, box, sizes)
        return super()._initialize_and_run_controller(**{**told, "scaling_policy": policy})

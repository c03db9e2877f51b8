"""One run on Ray: workers placed by Ray Train, their events brought to the driver."""

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.backend import Backend as RayBackend
from ray.train.backend import BackendConfig
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.queue import Empty, Queue

from distlab import worker
from distlab.backends.base import LabelledImages, Placement
from distlab.config import Experiment
from distlab.errors import DistlabError, WorkerError
from distlab.events import Event, Failed, Finished, Ready, Started

ENDPOINTS = "DISTLAB_ENDPOINTS"
POLL_S = 0.5


@dataclass(frozen=True)
class RankTask:
    """What Ray carries to every rank: the task, the data in the object store, the way back."""

    task: worker.Task
    device: str
    threads: int
    data: Any
    events: Queue
    log_dir: str


def share(train: LabelledImages, test: LabelledImages) -> Any:
    """Put the data into Ray's object store; each node fetches it once and its workers share it."""
    return ray.put((train, test))


def run(experiment: Experiment, data: Any, run_dir: Path, live: bool) -> Iterator[Event]:
    """Run the experiment and yield its ranks' events as they arrive.

    Parameters
    ----------
    experiment:
        What to run, and on how many workers of which kind.
    data:
        What :func:`share` returned.
    run_dir:
        Folder of the run. Each worker writes all that it prints to ``logs/rank-N.log`` below it,
        on its own node.
    live:
        Whether rank 0 reports its position inside epochs.

    Raises
    ------
    DistlabError
        If a worker found a user's mistake, or the start took too long.
    WorkerError
        If a worker failed or died.
    """
    log_dir = run_dir / "logs"
    log_dir.mkdir(parents=True, exist_ok=True)
    options = experiment.options
    events = Queue(actor_options={"num_cpus": 0})
    task = worker.Task(
        framework=options.framework.name,
        spec=experiment.spec,
        program=experiment.program,
        epochs=options.epochs,
        global_batch=experiment.global_batch,
        seed=options.seed,
        live=live,
    )
    on_gpu = experiment.device == "gpu"
    # Ray Train annotates its V2 trainer with the configs of V1, which it refuses.
    trainer = DataParallelTrainer(
        _run_rank,
        train_loop_config={
            "rank_task": RankTask(
                task, experiment.device, options.threads_per_worker, data, events, str(log_dir)
            )
        },
        backend_config=Rendezvous(
            {
                **{name: str(value) for name, value in options.framework.env.items()},
                "OMP_NUM_THREADS": str(options.threads_per_worker),
                # On a machine with GPUs a CPU worker must not see, let alone occupy, one of them.
                **({} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""}),
            }
        ),
        scaling_config=ScalingConfig(
            num_workers=experiment.world_size,
            use_gpu=on_gpu,
            resources_per_worker={
                "CPU": options.threads_per_worker,
                **({"GPU": 1} if on_gpu else {}),
            },
        ),
        run_config=RunConfig(  # type: ignore[arg-type]
            name="ray",
            storage_path=str(run_dir),
            failure_config=FailureConfig(max_failures=0),
            worker_runtime_env=options.framework.runtime_env or {},
        ),
    )
    yield from _events(trainer, events, experiment, log_dir)


def _events(
    trainer: DataParallelTrainer, queue: Queue, experiment: Experiment, log_dir: Path
) -> Iterator[Event]:
    """Fit in a thread and yield events until it ends; raise what went wrong."""
    errors: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    deadline = time.monotonic() + experiment.options.cluster.start_timeout_s
    started: set[int] = set()
    ready: set[int] = set()
    finished: set[int] = set()
    failure: Failed | None = None
    while True:
        ended = not thread.is_alive()
        try:
            event: Event = queue.get(timeout=None if ended else POLL_S, block=not ended)
        except Empty:
            if ended:
                break
            if len(ready) < experiment.world_size and time.monotonic() > deadline:
                raise _too_slow(experiment, started, ready, log_dir) from None
            continue
        match event:
            case Started(rank=rank):
                started.add(rank)
            case Ready(rank=rank):
                ready.add(rank)
            case Finished(rank=rank):
                finished.add(rank)
            case Failed():
                failure = failure or event
                continue
        yield event
        if len(finished) == experiment.world_size:
            # Ray Train notices by itself, at its next poll.
            return
    if failure is not None and failure.user_error is not None:
        raise DistlabError(*failure.user_error)
    if failure is not None:
        log = str(log_dir / f"rank-{failure.rank}.log")
        raise WorkerError(f"worker {failure.rank} failed: {failure.message}", log)
    if errors:
        raise WorkerError(_last_words(errors[0]), str(log_dir)) from errors[0]


def _too_slow(
    experiment: Experiment, started: set[int], ready: set[int], log_dir: Path
) -> DistlabError:
    """The error for a start that takes longer than ``cluster.start_timeout_s``."""
    waiting = sorted(set(range(experiment.world_size)) - ready)
    return DistlabError(
        f"{experiment.world_size} workers within "
        f"cluster.start_timeout_s={experiment.options.cluster.start_timeout_s:g} seconds",
        f"{len(started)} of them started; not ready: ranks {', '.join(map(str, waiting))}",
        f"see the workers' output in {log_dir}\nor allow more: cluster.start_timeout_s=600",
    )


def _last_words(error: BaseException) -> str:
    """One line of a Ray Train error, for a worker that died without a word of its own."""
    for inner in getattr(error, "worker_failures", {}).values():
        lines = [line for line in str(inner).splitlines() if line.strip()]
        if lines:
            return f"a worker died: {lines[0].strip()}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


class Rendezvous(BackendConfig):
    """A Ray Train backend for every framework: it gives each worker the environment of its rank.

    The workers get ``environment`` and, in ``DISTLAB_ENDPOINTS``, a free address of each rank.
    How a framework's process group is formed from these is its backend's business, so nothing of
    a framework is imported in Ray's processes.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    @property
    def backend_cls(self) -> type[RayBackend]:
        """The class that Ray Train instantiates in its controller."""
        return _RendezvousBackend


class _RendezvousBackend(RayBackend):
    """See :class:`Rendezvous`."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Collect the ranks' addresses and hand them to all."""
        assert isinstance(backend_config, Rendezvous)
        endpoints = ",".join(worker_group.execute(_free_endpoint))
        environment = {**backend_config.environment, ENDPOINTS: endpoints}
        worker_group.execute(_set_environment, environment)


def _set_environment(variables: dict[str, str]) -> None:
    """Set environment variables in this worker's process."""
    os.environ.update(variables)


def _free_endpoint() -> str:
    """``host:port`` on this worker's node, free at this moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"


def _run_rank(config: dict[str, Any]) -> None:
    """What Ray Train calls on every rank."""
    rank_task: RankTask = config["rank_task"]
    context = ray.train.get_context()
    placement = Placement(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        local_rank=context.get_local_rank(),
        device="gpu" if rank_task.device == "gpu" else "cpu",
        endpoints=tuple(os.environ[ENDPOINTS].split(",")),
        threads=rank_task.threads,
    )
    _redirect_output(Path(rank_task.log_dir) / f"rank-{placement.rank}.log")
    emit = rank_task.events.put
    try:
        emit(Started(placement.rank, socket.gethostname(), os.getpid()))
        worker.run(rank_task.task, placement, lambda: ray.get(rank_task.data), emit)
    except Exception as error:
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)  # noqa: T201
        user_error = (
            (error.asked, error.found, error.fix) if isinstance(error, DistlabError) else None
        )
        message = f"{type(error).__name__}: {str(error).strip() or text}".splitlines()[0]
        emit(Failed(placement.rank, message, text, user_error))
        raise RuntimeError(message) from None


def _redirect_output(path: Path) -> None:
    """Send this process's stdout and stderr, those of native code too, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

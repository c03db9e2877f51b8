"""Process groups of the conformance suite: one fresh process for each rank, one file for its notes.

The caller's process imports no framework.
"""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distlab.backends.base import Placement
from distlab.conformance.problem import Job, Problem
from distlab.errors import DistlabError
from distlab.machine import guard, network

POLL_S = 0.05
PATIENCE_S = 10.0
"""How long the ranks of a world may outlive one that failed."""


@dataclass(frozen=True)
class Witness:
    """What one rank's process left behind.

    Attributes
    ----------
    notes:
        What :mod:`distlab.conformance.rank.rank` saw.
    exit_code:
        Of the process, negative if a signal ended it; None if it had to be killed.
    output:
        The end of what it printed.
    threads:
        How many it was given.
    """

    rank: int
    notes: dict[str, Any]
    exit_code: int | None
    output: str
    threads: int

    @property
    def why(self) -> str:
        """In one line, why notes may be missing."""
        if "error" in self.notes:
            return str(self.notes["error"])
        code = "had to be killed" if self.exit_code is None else f"exited with {self.exit_code}"
        last = self.output.strip().splitlines()[-1:]
        return f"the process {code}" + (f": {last[0]}" if last else "")


def run(
    framework: str,
    execution: int | str,
    problem: Problem | None,
    threads: Mapping[int, int],
    environment: Mapping[str, str],
    timeout_s: float,
    device: str = "cpu",
) -> dict[int, list[Witness]]:
    """Run a world of every size at the same time and return its ranks' witnesses by world size.

    Parameters
    ----------
    framework, execution, problem:
        As in :class:`~distlab.conformance.problem.Job`.
    threads:
        Computing threads of each process, by world size: its keys are the worlds to run.
    environment:
        Variables to set in the processes, before the framework is imported.
    timeout_s:
        When processes that have not ended are killed.
    device:
        ``cpu``, or ``gpu``: rank k of a world has the machine's GPU k.
    """
    with TemporaryDirectory(prefix="distlab-conformance-") as folder, ExitStack() as stack:
        ranks = {
            (world, rank): _Process(
                Job(
                    framework,
                    execution,
                    Placement(
                        *(rank, world, rank, "gpu" if device == "gpu" else "cpu", endpoints),
                        threads[world],
                        deterministic=device == "gpu",
                    ),
                    problem,
                ),
                Path(folder),
                environment,
            )
            for world in threads
            for endpoints in [_endpoints(world, stack)]
            for rank in range(world)
        }
        for process in ranks.values():
            stack.callback(process.kill)
        deadline = time.monotonic() + timeout_s
        for world in threads:
            _wait([ranks[world, rank] for rank in range(world)], deadline)
        return {world: [ranks[world, rank].witness() for rank in range(world)] for world in threads}


class _Process:
    """One rank's process and its files."""

    def __init__(self, job: Job, folder: Path, environment: Mapping[str, str]) -> None:
        self._placement = job.placement
        stem = folder / f"{job.placement.world_size}-{job.placement.rank}"
        self._notes, self._output = stem.with_suffix(".notes"), stem.with_suffix(".log")
        stem.with_suffix(".job").write_bytes(pickle.dumps(job))
        module = "distlab.conformance.rank.rank"
        with self._output.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", module, stem.with_suffix(".job"), self._notes],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(job.placement, environment),
            )
        self._killed = False

    def poll(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._popen.poll()

    def kill(self) -> None:
        """End the process if it still runs."""
        if self._popen.poll() is None:
            self._killed = True
            self._popen.kill()
            self._popen.wait()

    def witness(self) -> Witness:
        """What the ended process left."""
        notes = pickle.loads(self._notes.read_bytes()) if self._notes.exists() else {}
        output = self._output.read_text(errors="replace")[-4000:]
        code = None if self._killed else self._popen.returncode
        return Witness(self._placement.rank, notes, code, output, self._placement.threads)


def _environment(placement: Placement, asked: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a rank's process, as a worker of a run would have it."""
    try:
        from distlab.cluster import worker_environment
    except ModuleNotFoundError as error:  # where Ray is not installed, one process is all there is
        if placement.world_size > 1 or error.name not in ("ray", "omegaconf", "hydra"):
            raise
        kept_out: dict[str, str] = {}
    else:
        kept_out = worker_environment.foreign(os.environ)
    own = {}
    if placement.device == "gpu" and placement.world_size > 1:
        gpus = worker_environment.here(placement.world_size)
        gpu = gpus[placement.rank] if placement.rank < len(gpus) else ""
        own = {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    environment = {
        **{name: value for name, value in os.environ.items() if name not in kept_out},
        **own,
        # As cuBLAS wants it for the same bits each time (its documentation, "Reproducibility").
        **({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if placement.deterministic else {}),
        **asked,
        "OMP_NUM_THREADS": str(placement.threads),
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    if placement.world_size > 1:
        worker_environment.ask_no_proxy(environment, placement.hosts)
        environment[guard.PRELOAD] = guard.preloaded(_guard()[1], environment)
    return environment


@lru_cache(maxsize=1)
def _guard() -> tuple[TemporaryDirectory[str], Path]:
    """What keeps other users of the machine from the ranks, and its folder, kept till the end."""
    folder = TemporaryDirectory(prefix="distlab-guard-")
    try:
        return folder, guard.build(Path(folder.name))
    except OSError as error:
        raise DistlabError(
            "processes that no other user of this machine can connect to",
            str(error),
            "install a C compiler, such as gcc",
        ) from error


def _wait(ranks: list[_Process], deadline: float) -> None:
    """Wait for the ranks of one world; kill what is left at the deadline."""
    while any(rank.poll() is None for rank in ranks):
        if any(rank.poll() for rank in ranks):
            deadline = min(deadline, time.monotonic() + PATIENCE_S)
        if time.monotonic() > deadline:
            for rank in ranks:
                rank.kill()
            return
        time.sleep(POLL_S)


def _endpoints(count: int, stack: ExitStack) -> tuple[str, ...]:
    """Addresses on this machine whose ports are kept until the stack is left."""
    kept = [stack.enter_context(network.reserve(network.LOOPBACK)) for _ in range(count)]
    return tuple(f"{network.LOOPBACK}:{one.getsockname()[1]}" for one in kept)

"""Which cores this process may use, and how fast they are let run.

``os.cpu_count()`` is the machine's; a process may have fewer: by its affinity (``taskset``, a batch
system, a control group's ``cpuset``, which the kernel takes off the affinity) and by a quota of
CPU time (:mod:`distlab.machine.quota`).
"""

import itertools
import os
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from distlab.errors import DistlabError
from distlab.machine import quota

CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Cores:
    """What this process may compute with.

    Attributes
    ----------
    machine:
        Cores that the machine has online.
    allowed:
        Their numbers, as far as this process may run on them. A core that runs several threads
        (SMT, Hyper-Threading) is as many cores here, as it is to Linux.
    physical:
        How many the allowed ones are where those that share a core count once.
    quota:
        How many cores' time control groups grant; None if they don't bound it.
    governor:
        How Linux chooses the clock rate (``powersave``, ``performance`` ...), several by
        commas where cores differ; None where it can't be read, as in most virtual machines.
    turbo:
        Whether cores may run above their nominal clock rate; None where it can't be read.
    """

    machine: int
    allowed: tuple[int, ...]
    physical: int
    quota: float | None = None
    governor: str | None = None
    turbo: bool | None = None

    @property
    def usable(self) -> float:
        """How many threads can compute at once: allowed cores, or the quota if that is less."""
        return min(len(self.allowed), self.quota or len(self.allowed))


def usable(root: Path = quota.ROOT, allowed: Iterable[int] | None = None) -> Cores:
    """What the calling thread may use now.

    Parameters
    ----------
    root:
        Where ``/proc`` and ``/sys`` are; tests have made-up ones.
    allowed:
        Cores that it may run on, where they are known; None for what the kernel says.
    """
    allowed = tuple(sorted(os.sched_getaffinity(0) if allowed is None else allowed))
    governors = {_read(root / CPUS / f"cpu{core}/cpufreq/scaling_governor") for core in allowed}
    return Cores(
        machine=os.cpu_count() or len(allowed),
        allowed=allowed,
        physical=len(by_sibling(allowed, root)),
        quota=min((group.cores for group in quota.bounds(root)), default=None),
        governor=",".join(sorted(filter(None, governors))) or None,
        turbo=_turbo(root),
    )


def by_sibling(cores: Iterable[int], root: Path = quota.ROOT) -> list[tuple[int, ...]]:
    """Cores by the physical core they belong to, in the order of their first ones.

    Where the machine doesn't say which belong together, each stands for itself.
    """
    found: dict[str, list[int]] = {}
    for core in sorted(cores):
        siblings = _read(root / CPUS / f"cpu{core}/topology/thread_siblings_list")
        found.setdefault(siblings or f"core {core}", []).append(core)
    return [tuple(together) for together in found.values()]


def shares(
    cores: Iterable[int], workers: int, threads: int, root: Path = quota.ROOT
) -> list[tuple[int, ...]]:
    """Cores of its own for each worker of a host, as many for each; some may be left over.

    A worker has whole physical cores, with all their threads (SMT), if there is one for each of its
    computing threads, else threads of the same physical cores as far as possible. Cores of one
    package come one after the other.

    Parameters
    ----------
    cores:
        The cores that all workers may use.
    workers, threads:
        Workers on the host, and computing threads of each.
    root:
        Where ``/sys`` is; tests have a made-up one.

    Raises
    ------
    DistlabError
        If a worker would have fewer cores than threads.
    """
    together = by_sibling(cores, root)
    together.sort(key=lambda siblings: _package(siblings[0], root))
    if len(together) < workers * threads:
        together = [(core,) for siblings in together for core in siblings]
    each = len(together) // workers
    if each < threads:
        raise DistlabError(
            f"pin=cores for {workers} workers of {threads} thread{'s' * (threads > 1)} on "
            f"{socket.gethostname()}",
            f"{len(together)} core{'s' * (len(together) != 1)} may be used there",
            "pin=null, fewer workers (gpus) or fewer threads_per_worker",
        )
    return [
        tuple(sorted(itertools.chain(*together[worker * each : (worker + 1) * each])))
        for worker in range(workers)
    ]


def keep_near(device: Collection[int], before: Cores) -> None:
    """Keep the calling thread, and those that it makes, on the cores nearest to a device.

    Nothing changes where these are not known or may not be used, nor for a thread that has cores of
    its own already.

    Parameters
    ----------
    device:
        The device's nearest cores, on the machine.
    before:
        What the thread could use when its process began.
    """
    now = os.sched_getaffinity(0)
    if now == set(before.allowed) and (near := now & set(device)):
        os.sched_setaffinity(0, near)


def _package(core: int, root: Path) -> int:
    """Which package (socket) a core belongs to; 0 where it can't be read."""
    return int(_read(root / CPUS / f"cpu{core}/topology/physical_package_id") or 0)


def _turbo(root: Path) -> bool | None:
    """Whether clock rates above the nominal one are allowed, as Intel's driver or cpufreq says."""
    off = _read(root / CPUS / "intel_pstate/no_turbo")
    if off:
        return off == "0"
    on = _read(root / CPUS / "cpufreq/boost")
    return on == "1" if on else None


def _read(path: Path) -> str:
    """A file's text without the end of its line; nothing where it can't be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""

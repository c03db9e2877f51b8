"""Which cores this process may use, and how fast they are let run.

``os.cpu_count()`` is the machine's; a process may have fewer: by its affinity (``taskset``, a batch
system, a control group's ``cpuset``, which the kernel takes off the affinity) and by a quota of
CPU time (:mod:`distlab.machine.quota`).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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

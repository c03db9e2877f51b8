"""The load of a machine while it is measured: CPU time of the measured processes and of others.

A throughput is only worth as much as the quiet around it. Each rank reads CPU times at both ends
of every window; the difference says how many cores were busy with the run itself, how many with
something else, and which share of the time a hypervisor gave to other machines (``steal`` of
``/proc/stat``, see proc_stat(5)). Only cores that the run may use are looked at: what happens on
the others is no matter to it. And it says for how long control groups stopped the run's processes
because a quota was used up (:mod:`distlab.machine.quota`).
"""

import os
import resource
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distlab.machine.quota import ROOT, Group

OTHER_CORES_AT_MOST = 0.25
STEAL_AT_MOST = 0.05
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuSeconds:
    """CPU time since some moment; the difference of two is that of the time between them.

    Attributes
    ----------
    wall:
        Seconds that passed.
    own:
        CPU seconds of this process, all its threads, user and system.
    busy:
        CPU seconds in which any of the looked at cores was busy with any process.
    stolen:
        CPU seconds that the hypervisor gave to others while such a core wanted to run.
    throttled:
        Seconds for which control groups stopped their processes on a core, summed over cores.
    """

    wall: float
    own: float
    busy: float
    stolen: float
    throttled: float = 0.0

    @classmethod
    def now(
        cls,
        cores: Collection[int] | None = None,
        groups: Iterable[Group] = (),
        root: Path = ROOT,
    ) -> "CpuSeconds":
        """Read the clocks; takes about 0.1 ms.

        Parameters
        ----------
        cores:
            The cores to look at; None for all.
        groups:
            The control groups that bound this process.
        root:
            Where ``/proc`` is; tests have made-up ones.
        """
        usage = resource.getrusage(resource.RUSAGE_SELF)
        busy, stolen = _busy_and_stolen((root / "proc/stat").read_text(), cores)
        return cls(
            wall=time.perf_counter(),
            own=usage.ru_utime + usage.ru_stime,
            busy=busy,
            stolen=stolen,
            throttled=sum(group.throttled_s() for group in groups),
        )

    def __sub__(self, earlier: "CpuSeconds") -> "CpuSeconds":
        return CpuSeconds(
            self.wall - earlier.wall,
            self.own - earlier.own,
            self.busy - earlier.busy,
            self.stolen - earlier.stolen,
            self.throttled - earlier.throttled,
        )

    def __add__(self, other: "CpuSeconds") -> "CpuSeconds":
        return CpuSeconds(
            self.wall + other.wall,
            self.own + other.own,
            self.busy + other.busy,
            self.stolen + other.stolen,
            self.throttled + other.throttled,
        )


def _busy_and_stolen(stat: str, cores: Collection[int] | None) -> tuple[float, float]:
    """CPU seconds since the machine's start, of all cores or of some, from ``/proc/stat``."""
    names = {"cpu"} if cores is None else {f"cpu{core}" for core in cores}
    busy = stolen = 0
    for line in stat.splitlines():
        name, *ticks = line.split()
        if name in names:
            # guest and guest_nice, which follow, are contained in user and nice.
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return busy * TICK_S, stolen * TICK_S


@dataclass(frozen=True)
class Load:
    """The load of a machine during the windows of a run, as averages.

    Attributes
    ----------
    cores:
        Cores of the machine that the run may use.
    own_cores, other_cores:
        How many of them were busy with the run's workers, and with all else.
    steal:
        Stolen CPU time as a share of the time of all cores.
    too_noisy:
        Why the run's figures are not to be believed; None if they are.
    uncertain_cores:
        What the clock's tick leaves open of ``other_cores``: in short windows more than may be
        busy with others, so that nothing is known of them.
    throttled_cores:
        How many cores' work control groups stopped on average, because a quota was used up.
    """

    cores: int
    own_cores: float
    other_cores: float
    steal: float
    too_noisy: str | None
    uncertain_cores: float = 0.0
    throttled_cores: float = 0.0


def load(
    cores: int, threads: int, ranks: Sequence[Sequence[CpuSeconds]], host: str = "the machine"
) -> Load:
    """The load of one machine over a run.

    Others may use the cores that the workers leave free, and 0.25 cores more (and what the clock's
    tick, 10 ms on Linux, leaves open in short windows); a run is too noisy beyond that, or when
    more than 5 % of the CPU time was stolen, and a tick of each core a window.

    Parameters
    ----------
    cores:
        Cores of the machine that these workers may use.
    threads:
        Computing threads of all the run's workers on this machine.
    ranks:
        For each of these workers, the CPU times of its windows.
    host:
        Name of the machine, for the reason.
    """
    windows = [window for rank in ranks for window in rank]
    wall = sum(window.wall for window in windows) / len(ranks)
    busy = sum(window.busy for window in windows) / len(ranks)
    own = sum(window.own for window in windows)
    stolen = sum(window.stolen for window in windows) / len(ranks)
    other = max(0.0, (busy - own) / wall)
    steal = stolen / (wall * cores)
    free = max(0, cores - threads)
    # What a core did is counted in ticks, at each end of each window.
    uncertain = cores * TICK_S * max(len(rank) for rank in ranks) / wall
    reason = None
    if other > free + OTHER_CORES_AT_MOST + uncertain:
        reason = (
            f"other processes kept {other:.2f} cores of {host} busy; "
            f"{free} of {cores} were free of workers"
        )
    elif steal > STEAL_AT_MOST + uncertain / cores:
        reason = f"the hypervisor took {steal:.0%} of the CPU time of {host}"
    # Workers of one machine are as a rule in one group, which each of them reads.
    throttled = max(sum(window.throttled for window in rank) for rank in ranks) / wall
    return Load(cores, own / wall, other, steal, reason, uncertain, throttled)


def worst(loads: Collection[Load]) -> dict[str, Any] | None:
    """The load of the noisiest of several machines, as plain data; None if there are none."""
    if not loads:
        return None
    noisiest = max(loads, key=lambda one: (one.too_noisy is not None, one.other_cores, one.steal))
    return asdict(noisiest)

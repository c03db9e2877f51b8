"""The load of a machine while it is measured: CPU time of the measured processes and of others.

A throughput is only worth as much as the quiet around it. Each rank reads CPU times at both ends
of every window; the difference says how many cores were busy with the run itself, how many with
something else, and which share of the time a hypervisor gave to other machines (``steal`` of
``/proc/stat``, see proc_stat(5)).
"""

import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

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
        CPU seconds in which any core of the machine was busy with any process.
    stolen:
        CPU seconds that the hypervisor gave to others while a core here wanted to run.
    """

    wall: float
    own: float
    busy: float
    stolen: float

    @classmethod
    def now(cls) -> "CpuSeconds":
        """Read the clocks; takes about 0.1 ms."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        machine = psutil.cpu_times()
        stolen = getattr(machine, "steal", 0.0)
        # guest and guest_nice are contained in user and nice.
        idle = machine.idle + getattr(machine, "iowait", 0.0) + stolen
        guests = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
        return cls(
            wall=time.perf_counter(),
            own=usage.ru_utime + usage.ru_stime,
            busy=sum(machine) - idle - guests,
            stolen=stolen,
        )

    def __sub__(self, earlier: "CpuSeconds") -> "CpuSeconds":
        return CpuSeconds(
            self.wall - earlier.wall,
            self.own - earlier.own,
            self.busy - earlier.busy,
            self.stolen - earlier.stolen,
        )


@dataclass(frozen=True)
class Load:
    """The load of a machine during the windows of a run, as averages.

    Attributes
    ----------
    cores:
        Cores of the machine.
    own_cores, other_cores:
        Cores busy with the run's workers, and with all else.
    steal:
        Stolen CPU time as a share of the time of all cores.
    too_noisy:
        Why the run's figures are not to be believed; None if they are.
    uncertain_cores:
        What the clock's tick leaves open of ``other_cores``: in short windows more than may be
        busy with others, so that nothing is known of them.
    """

    cores: int
    own_cores: float
    other_cores: float
    steal: float
    too_noisy: str | None
    uncertain_cores: float = 0.0


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
        Cores of the machine.
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
    return Load(cores, own / wall, other, steal, reason, uncertain)


def worst(loads: Mapping[str, Load]) -> dict[str, Any] | None:
    """The load of the noisiest of several machines, as plain data; None if there are none."""
    if not loads:
        return None
    noisiest = max(
        loads.values(), key=lambda one: (one.too_noisy is not None, one.other_cores, one.steal)
    )
    return asdict(noisiest)

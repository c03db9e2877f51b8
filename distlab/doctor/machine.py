"""What this machine offers to runs: cores and their clocks, load, memory, the shell's variables."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from distlab.cluster.worker_environment import foreign
from distlab.doctor.finding import Finding, note, wrong
from distlab.machine import cores as machine_cores

GIB = 1 << 30
LEAST_MEMORY, USUAL_MEMORY = GIB, 4 * GIB
"""Free memory below which a run fails, and below which one of several workers may."""
LEAST_SHM = GIB // 2
"""Below this, Ray puts what its processes share on the disk."""
BUSY = 0.25
"""Others' work on a core, as a share of it, that spoils most timings."""


def cores() -> Iterator[Finding]:
    """Cores that may be used, by affinity, cpuset and quota."""
    found = machine_cores.usable()
    allowed, several = len(found.allowed), "s" * (found.machine != 1)
    text = f"{allowed} of {found.machine} core{several} may be used"
    if found.physical < allowed:
        text += f", on {found.physical} physical ones"
    if found.quota is not None and found.quota < allowed:
        text += f", for the time of {found.quota:g}"
        advice = "a control group stops runs that use more: raise its quota (docker run --cpus)"
        yield note("cores", text, advice)
    elif found.physical < allowed:
        advice = f"more than {found.physical} computing threads share cores: gpus={found.physical}"
        yield note("cores", text, advice)
    elif allowed == 1:
        yield note("cores", text, "one worker (gpus=1): several would wait for each other")
    else:
        yield Finding("cores", text)


def clock() -> Iterator[Finding]:
    """How the clock rate is chosen, where Linux tells."""
    found = machine_cores.usable()
    if found.governor is None and found.turbo is None:
        yield Finding("clock", "its governor cannot be read here, as in most virtual machines")
        return
    turbo = {None: "unknown", True: "on", False: "off"}[found.turbo]
    text = f"governor {found.governor or 'unknown'}, turbo {turbo}"
    if found.governor and found.governor != "performance":
        advice = "clocks may vary: sudo cpupower frequency-set --governor performance"
        yield note("clock", text, advice)
    else:
        yield Finding("clock", text)


def load() -> Iterator[Finding]:
    """What others do on this machine, as the average of the last minute."""
    running = os.getloadavg()[0]
    text = f"{running:.1f} processes run or wait, on average of the last minute"
    if running > BUSY * len(machine_cores.usable().allowed):
        yield note("load", text, "a run tells and is not ranked where others' work was too much")
    else:
        yield Finding("load", text)


def memory() -> Iterator[Finding]:
    """Free memory, and the part that processes share."""
    free = psutil.virtual_memory().available
    text = f"{free / GIB:.1f} GiB free"
    advice = "a worker takes about 1 GiB: end other programs, or fewer workers (gpus=1)"
    if free < LEAST_MEMORY:
        yield wrong("memory", text, advice)
    elif free < USUAL_MEMORY:
        yield note("memory", text, advice)
    else:
        yield Finding("memory", text)
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK, effective_ids=True):
        yield wrong("/dev/shm", "cannot be written", "sudo chmod 1777 /dev/shm")
        return
    room = shutil.disk_usage(shared)
    text = f"{room.free / GIB:.1f} of {room.total / GIB:.1f} GiB free"
    if room.free < LEAST_SHM:
        advice = "in a container: docker run --shm-size=1g"
        yield note("/dev/shm", text, advice)
    else:
        yield Finding("/dev/shm", text)


def variables() -> Iterator[Finding]:
    """What the shell sets of threads, cores and instructions."""
    found = foreign(os.environ)
    if found:
        text = " ".join(f"{name}={value}" for name, value in sorted(found.items()))
        advice = "kept from workers, on a cluster too; what they shall have: framework.env.NAME=..."
        yield note("variables", text, advice)
    else:
        yield Finding("variables", "the shell sets none of threads, cores or instructions")

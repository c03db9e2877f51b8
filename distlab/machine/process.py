"""What a process of this machine does at this moment, as the kernel and its own stack tell it."""

import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STACK = signal.SIGUSR2
"""On it a rank writes the stacks of its threads to its log (:mod:`faulthandler`)."""
LOOK_S, LOOKS = 0.5, 10
"""For how long and how often a process is looked at to see whether it computes."""
ANSWER_S = 2.0
"""For how long its stack is waited for."""

VMSTAT = Path("/proc/vmstat")

_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (.+)')


@dataclass(frozen=True)
class Doing:
    """What a process does.

    Attributes
    ----------
    state:
        ``stopped``, ``ended``, ``running``, ``waiting`` or ``waiting for a disk or a device``.
    place:
        The innermost line of Python below distlab's loop, as ``file.py:12 in function``; empty
        where it isn't known.
    """

    state: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.state} at {self.place}" if self.place else self.state


def doing(pid: int, log: str, below: str = "") -> Doing:
    """Look at a process of this machine for half a second.

    Parameters
    ----------
    pid:
        Its number.
    log:
        The file to which it writes its stacks on :data:`STACK`.
    below:
        What the name of the file ends with in which the thread of interest stands somewhere.
    """
    seen = []
    for _ in range(LOOKS):
        states = _states(pid)
        if not states or states[0] in "ZX":
            return Doing("ended")
        if states[0] in "tT":
            return Doing("stopped" if states[0] == "T" else "held by a debugger")
        seen.append(states)
        time.sleep(LOOK_S / LOOKS)
    # Ready to run and without a core is running, too: that depends on others.
    if sum("R" in states for states in seen) > LOOKS / 2:
        return Doing("running", _place(pid, log, below))
    waits = "waiting for a disk or a device" if seen[-1][0] == "D" else "waiting"
    return Doing(waits, _place(pid, log, below))


def kill(pid: int) -> None:
    """End a process of this machine, whatever it does."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def ended_for_memory() -> int | None:
    """How many processes this machine's kernel has ended for want of memory since it booted.

    Those of all control groups count, for in a container that a limit ends nothing else tells of
    it (``oom_kill`` in proc_vmstat, mm/vmstat.c of Linux). None where the kernel doesn't say.
    """
    with suppress(OSError):
        found = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
        return int(found[1]) if found else None
    return None


def _states(pid: int) -> str:
    """A letter for each thread, the first one's first (proc_pid_stat(5), field 3); "" if ended."""
    letters = []
    with suppress(OSError):
        threads = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda one: int(one.name))
        for thread in threads:
            with suppress(OSError):
                letters.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return "".join(letters)


def _place(pid: int, log: str, below: str) -> str:
    """Where in its Python a process is, which it writes to its log when it is asked."""
    with suppress(OSError, ValueError):
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        if caught is None or not int(caught[1], 16) >> (STACK - 1) & 1:
            return ""  # it would end
        file = Path(log)
        size = file.stat().st_size
        os.kill(pid, STACK)
        given_up = time.monotonic() + ANSWER_S
        while time.monotonic() < given_up:
            time.sleep(0.1)
            with file.open("rb") as written:
                written.seek(size)
                found = innermost(written.read().decode(errors="replace"), below)
            if found:
                return found
    return ""


def innermost(stacks: str, below: str) -> str:
    r"""The innermost frame of the thread in which a file stands, of what faulthandler wrote.

    >>> innermost('Thread 0x1 (most recent call first):\n  File "/a/b.py", line 3 in f\n', "")
    'b.py:3 in f'
    """
    for thread in re.split(r"^(?=(?:Current t|T)hread 0x)", stacks, flags=re.MULTILINE):
        frames = _FRAME.findall(thread)
        if frames and any(path.endswith(below) for path, _, _ in frames):
            path, line, function = frames[0]
            return f"{Path(path).name}:{line} in {function}"
    return ""

"""A command of distlab's as somebody sees it who does not know it: processes, and what is printed.

Its processes are known by a variable of their environment, which each hands on to its children; so
none is missed, whoever its parent has become. Some hide it behind the title that they give
themselves: these are known from the time when their parents lived.
"""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

MARK = "DISTLAB_FAULTS"
"""The variable: which command a process belongs to."""
HANG = '''\
"""A signal that makes a rank hang: a loop of Python that never ends, where it trains."""

import signal
import sys


def hang(*_, **__):
    while True:
        pass


def caught(number, frame):
    while frame is not None:
        if frame.f_code.co_filename.endswith("distlab/worker/loop.py"):
            hang()
        frame = frame.f_back
    # Another thread trains, or none yet: where it comes to next.
    from distlab.backends.base import Backend
    from distlab.worker import loop, probes

    loop.load = loop.draw = loop.epoch_order = probes.warm_up = hang
    kinds = [Backend]
    for kind in kinds:
        kind.train = hang
        kinds += kind.__subclasses__()


signal.signal(signal.SIGUSR1, caught)
'''
"""``sitecustomize.py`` of all processes of a command."""
EPOCH = re.compile(r"^epoch +(\d+)/", re.MULTILINE)
RESTART = re.compile(r"^(.*); other workers go on from epoch (\d+)", re.MULTILINE)
PROCESSES = {
    "raylet": lambda one: one.name() == "raylet",
    "head": lambda one: one.name() == "gcs_server",
    "controller": lambda one: "TrainController" in _title(one),
    "mailbox": lambda one: "Mailbox" in _title(one),
}
LOOK_S = 0.25
GONE_S = 90
"""For how long what a command leaves is waited for."""


class Command:
    """One ``python -m distlab.launch`` in a folder.

    Parameters
    ----------
    folder:
        Where it is given, with a store, outputs and temporary files of its own.
    arguments:
        Its options.

    Attributes
    ----------
    gone_s:
        How many seconds after its end none of its processes was left; None as long as one is.
    """

    _count = 0

    def __init__(self, folder: Path, arguments: tuple[str, ...]) -> None:
        Command._count += 1
        self.folder, self._number = folder, f"{os.getpid()}-{Command._count}"
        self.gone_s: float | None = None
        self._ended = 0.0
        self._seen: set[psutil.Process] = set()
        (folder / "hang").mkdir(exist_ok=True)
        (folder / "hang" / "sitecustomize.py").write_text(HANG)
        paths = (str(folder / "hang"), os.environ.get("PYTHONPATH", ""))
        self.output = Path(tempfile.mktemp(prefix="out-", dir=folder))
        own = {"RAY_TMPDIR": str(folder), "TMPDIR": str(folder), MARK: self._number}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "distlab.launch", *arguments],
                cwd=folder,
                env={**os.environ, **own, "PYTHONPATH": ":".join(filter(None, paths))},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text()

    @property
    def epochs(self) -> list[int]:
        """The epochs that it has told of, in that order."""
        return [int(number) for number in EPOCH.findall(self.text)]

    @property
    def code(self) -> int | None:
        """With what it has ended; None while it runs."""
        return self.process.poll()

    def running(self) -> list[psutil.Process]:
        """Its processes that run."""
        for one in psutil.process_iter(["environ"]):
            if (one.info["environ"] or {}).get(MARK) == self._number:
                self._seen.add(one)
        for one in tuple(self._seen):
            with contextlib.suppress(psutil.Error):
                self._seen.update(one.children())
        return [one for one in self._seen if _runs(one)]

    def find(self, what: str, but: frozenset[int] = frozenset()) -> psutil.Process | None:
        """The process of a name (``command``, ``rank 0``, ``raylet`` ...), but not one of some."""
        running = self.running()
        if what == "command":
            return psutil.Process(self.process.pid)
        log = f"/rank-{what[-1]}.log"
        fits = PROCESSES.get(what, lambda one: _writes(one, log))
        for one in running:
            try:
                if one.pid not in but and fits(one):
                    return one
            except psutil.Error:
                pass
        return None

    def wait(self, ready: Callable[[], object], seconds: float) -> bool:
        """Wait until ``ready`` says so; False if the command ended or time is over before."""
        given_up = time.monotonic() + seconds
        while time.monotonic() < given_up:
            over = self.code is not None
            if ready():
                return True
            if over:
                return False
            time.sleep(LOOK_S)
        return False

    def is_gone(self) -> bool:
        """Whether nothing of it is left; ask from its end on, and again and again."""
        self._ended = self._ended or time.monotonic()
        if self.gone_s is None and not self.running():
            self.gone_s = time.monotonic() - self._ended
        return self.gone_s is not None

    def left(self) -> str:
        """What is left of it, which is waited for and then ended; empty if that is nothing."""
        while not self.is_gone() and time.monotonic() < self._ended + GONE_S:
            time.sleep(LOOK_S)
        rest = [] if self.is_gone() else self.running()
        for one in rest:
            one.kill()
        names = ", ".join(sorted({one.name() for one in rest}))
        return f"{len(rest)} processes ({names})" if rest else ""


def statuses(folder: Path) -> Counter[str]:
    """How many runs have which status in MLflow."""
    return Counter(dict(_asked(folder, "select status, count(*) from runs group by status")))


def last_run(folder: Path) -> str:
    """The id of the run that began last."""
    query = "select run_uuid from runs order by start_time desc limit 1"
    return str(_asked(folder, query)[0][0])


def _asked(folder: Path, query: str) -> list[tuple[str, int]]:
    with sqlite3.connect(f"file:{folder}/mlruns/mlflow.db?mode=ro", uri=True) as database:
        return database.execute(query).fetchall()


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _title(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def _writes(process: psutil.Process, log: str) -> bool:
    return any(file.path.endswith(log) for file in process.open_files())

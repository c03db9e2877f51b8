"""What a run survives: kills and stalls at random moments, and what each of them leaves behind.

``python benchmarks/fault_campaign.py`` trains the MLP on two CPU workers with each framework and
engine: once undisturbed, and then again and again while one thing after the other is killed
(SIGKILL) or stopped (SIGSTOP): a rank, Ray's raylet or head, Ray Train's controller, the command
itself, which ``resume=`` then takes up. Faults are drawn with ``--seed``; the moments are random,
too, from the first epoch after the last recovery on. Each becomes a row: whether the run went on,
epochs trained again, seconds from the fault to the next new epoch, and what was left. A run's final
weights are compared with the undisturbed run's, bit for bit.

``--markdown FILE`` writes the table as docs/reliability.md has it; ``--faults 1`` is a short try.
"""

import argparse
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from measuring import CONSOLE

FRAMEWORKS = ("torch", "tf", "paddle")
ENGINES = ("actors", "train")
KINDS = ("rank 0", "rank 1", "stop 0", "stop 1", "raylet", "head", "command")
CONTROLLER = "controller"
OPTIONS = ("model=mlp", "data=mnist5k", "device=cpu", "gpus=2", "execution=eager")
QUICK = ("tracking.log_model=false", "tracking.system_metrics=false", "measure_exchange=false")
SILENCE_S = 10
RECOVERY_S = 240
"""After so long a run that does not go on has hung, which is a row of its own."""
GONE_S = 90
"""For how long what a command leaves is waited for."""
EPOCH = re.compile(r"^epoch +(\d+)/", re.MULTILINE)
RESTART = re.compile(r"go on from epoch (\d+)")


@dataclass
class Row:
    """One fault and what came of it."""

    framework: str
    engine: str
    fault: str
    epoch: int
    outcome: str = ""
    lost_epochs: int | None = None
    seconds: float | None = None
    left: str = "nothing"
    equal: bool | None = None


@dataclass
class Command:
    """One ``python -m distlab.launch`` in a folder, and the processes that were ever its own."""

    folder: Path
    arguments: tuple[str, ...]
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.output = Path(tempfile.mktemp(prefix="out-", dir=self.folder))
        environment = {**os.environ, "RAY_TMPDIR": str(self.folder), "TMPDIR": str(self.folder)}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "distlab.launch", *self.arguments],
                cwd=self.folder,
                env=environment,
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

    def look(self) -> list[psutil.Process]:
        """Its processes that run."""
        try:
            own = psutil.Process(self.process.pid)
            for one in (own, *own.children(recursive=True)):
                self.seen.setdefault(one.pid, one)
        except psutil.NoSuchProcess:
            pass
        return [one for one in self.seen.values() if _runs(one)]

    def find(self, kind: str) -> psutil.Process | None:
        """The process that a fault is for."""
        running = self.look()
        if kind == "command":
            return psutil.Process(self.process.pid)
        if kind in ("raylet", "head"):
            name = {"raylet": "raylet", "head": "gcs_server"}[kind]
            return next((one for one in running if one.name() == name), None)
        if kind == CONTROLLER:
            return next((one for one in running if "TrainController" in _title(one)), None)
        log = f"/rank-{kind[-1]}.log"
        return next((one for one in running if _writes(one, log)), None)

    def wait(self, ready: Callable[[], object], seconds: float) -> bool:
        """Wait until ``ready`` says so; False if the command ended or time is over before."""
        given_up = time.monotonic() + seconds
        while time.monotonic() < given_up:
            if ready():
                return True
            if self.process.poll() is not None:
                return bool(ready())
            self.look()
            time.sleep(0.2)
        return False

    def tells_more(self) -> bool:
        """Wait until it tells of one more epoch."""
        told = len(self.epochs)
        return self.wait(lambda: len(self.epochs) > told, RECOVERY_S)

    def gone(self) -> tuple[float, list[psutil.Process]]:
        """Seconds until no process is left, and those that are after 90 s, which are ended here."""
        begun = time.monotonic()
        while (left := self.look()) and time.monotonic() < begun + GONE_S:
            time.sleep(0.2)
        for one in left:
            one.kill()
        return time.monotonic() - begun, left


def campaign(framework: str, engine: str, faults: list[str], epochs: int, seed: int) -> list[Row]:
    """One undisturbed run, and as many disturbed ones as the faults need."""
    base = ("framework=" + framework, f"engine={engine}", f"epochs={epochs}", *OPTIONS, *QUICK)
    with tempfile.TemporaryDirectory(prefix="df-", dir="/tmp") as name:
        folder = Path(name)
        calm = Command(folder, base)
        code = calm.process.wait()
        if code:
            raise RuntimeError(calm.text[-2000:])
        expected = _summaries(folder)[-1]["final_weights_sha256"]
        patient = ("failures.max=100", f"cluster.silence_timeout_s={SILENCE_S}")
        draw = random.Random(f"{framework} {engine} {seed}")
        rows: list[Row] = []
        left = list(faults)
        while left:
            command, mine = Command(folder, (*base, *patient)), []
            while command is not None:
                if not left or not command.tells_more():
                    break
                time.sleep(draw.uniform(0, 1.5))
                target = command.find(left[0])
                if target is None or command.process.poll() is not None:
                    break
                row = Row(framework, engine, left.pop(0), command.epochs[-1])
                command = _strike(command, target, row)
                mine.append(row)
                _tell(row)
            if command is not None:
                command.process.wait(timeout=RECOVERY_S)
                _, remaining = command.gone()
                done = [one for one in _summaries(folder) if one["run_id"] not in _known]
                for row in mine:
                    row.equal = bool(done) and done[-1]["final_weights_sha256"] == expected
                    row.equal = row.equal if row.outcome != "ended" else None
                _known.update(one["run_id"] for one in _summaries(folder))
                if mine and remaining:
                    mine[-1].left = _names(remaining)
            if not mine:
                left.pop(0)  # no such process with this engine, or a run that was too short
            rows += mine
        running = _statuses(folder).get("RUNNING", 0)
        if rows and running:
            rows[-1].left += f"; {running} RUNNING"
        return rows


_known: set[str] = set()


def _strike(command: Command, target: psutil.Process, row: Row) -> Command | None:
    """Let a fault happen, and see whether the run goes on; the command that goes on with it."""
    restarts = len(RESTART.findall(command.text))
    begun = time.monotonic()
    target.send_signal(signal.SIGSTOP if row.fault.startswith("stop") else signal.SIGKILL)
    if row.fault != "command":
        said = command.wait(lambda: len(RESTART.findall(command.text)) > restarts, RECOVERY_S)
        if said:
            position = [m.end() for m in RESTART.finditer(command.text)][-1]
            last = [int(n) for n in EPOCH.findall(command.text[:position])][-1]
            row.lost_epochs = last + 1 - int(RESTART.findall(command.text)[-1])
            row.epoch = last
            went_on = command.wait(lambda: EPOCH.search(command.text[position:]), RECOVERY_S)
            row.seconds = time.monotonic() - begun
            row.outcome = "went on" if went_on else "hung"
            return command
        if command.process.poll() is None:
            row.outcome = "hung"
            command.process.send_signal(signal.SIGINT)
            return None
        if command.process.returncode == 0:
            row.outcome = "over before"
            return command
    last = command.epochs[-1]
    command.process.wait(timeout=RECOVERY_S)
    seconds, remaining = command.gone()
    row.left = _names(remaining) if remaining else f"nothing after {seconds:.0f} s"
    statuses = _statuses(command.folder)
    row.left += f"; {statuses['RUNNING']} RUNNING" if statuses.get("RUNNING") else ""
    row.outcome = f"exit {command.process.returncode}"
    # A command that was killed, or by Ray: another takes its run up.
    resumed = Command(command.folder, (f"resume={_last_run(command.folder)}",))
    again = time.monotonic()
    if resumed.wait(lambda: resumed.epochs, RECOVERY_S):
        row.lost_epochs = last + 1 - resumed.epochs[0]
        row.seconds = time.monotonic() - again
        row.outcome += ", resumed"
        return resumed
    row.outcome += ", not resumed"
    CONSOLE.print(resumed.text[-600:], markup=False)
    resumed.process.kill()
    return None


def _summaries(folder: Path) -> list[dict[str, str]]:
    files = sorted(folder.glob("outputs/*/*/summary.json"), key=lambda one: one.stat().st_mtime)
    found = [json.loads(one.read_text()) for one in files]
    return [{**one, "run_id": one["mlflow"]["run_id"]} for one in found]


def _statuses(folder: Path) -> dict[str, int]:
    with sqlite3.connect(f"file:{folder}/mlruns/mlflow.db?mode=ro", uri=True) as database:
        query = "select status, count(*) from runs group by status"
        return dict(database.execute(query).fetchall())


def _last_run(folder: Path) -> str:
    with sqlite3.connect(f"file:{folder}/mlruns/mlflow.db?mode=ro", uri=True) as database:
        query = "select run_uuid from runs order by start_time desc limit 1"
        return str(database.execute(query).fetchone()[0])


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _writes(process: psutil.Process, log: str) -> bool:
    try:
        return any(file.path.endswith(log) for file in process.open_files())
    except psutil.Error:
        return False


def _names(processes: list[psutil.Process]) -> str:
    return f"{len(processes)} processes ({', '.join(sorted({one.name() for one in processes}))})"


def _tell(row: Row) -> None:
    CONSOLE.print(json.dumps(asdict(row)), markup=False, soft_wrap=True)


def markdown(rows: list[Row]) -> str:
    """The table of docs/reliability.md."""
    head = ("framework", "engine", "fault", "in epoch", "outcome", "epochs again", "seconds")
    lines = [f"| {' | '.join((*head, 'weights equal', 'left'))} |", "|---" * 9 + "|"]
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        lost = "" if row.lost_epochs is None else str(row.lost_epochs)
        equal = {True: "yes", False: "NO", None: "-"}[row.equal]
        cells = (row.framework, row.engine, row.fault, str(row.epoch), row.outcome, lost, seconds)
        lines.append(f"| {' | '.join((*cells, equal, row.left))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the campaign and print its table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--frameworks", nargs="+", default=FRAMEWORKS, choices=FRAMEWORKS)
    arguments.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    arguments.add_argument("--faults", type=int, default=20, help="of each framework and engine")
    arguments.add_argument("--kinds", nargs="+", help="these in turn, instead of random ones")
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--markdown", type=Path)
    asked = arguments.parse_args()
    rows: list[Row] = []
    for framework in asked.frameworks:
        for engine in asked.engines:
            kinds = (*KINDS, CONTROLLER) if engine == "train" else KINDS
            draw = random.Random(f"{asked.seed} {framework} {engine}")
            # Each kind as often as any other, in a random order.
            every = list(kinds) * (asked.faults // len(kinds) + 1)
            faults = asked.kinds or draw.sample(every[: asked.faults], asked.faults)
            rows += campaign(framework, engine, list(faults), asked.epochs, asked.seed)
            if asked.markdown:
                asked.markdown.write_text(markdown(rows))
    CONSOLE.print(markdown(rows), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()

"""What a run survives: kills and stalls at random moments, and what each of them leaves behind.

``python benchmarks/fault_campaign.py`` trains the MLP on two CPU workers with each framework and
engine: once undisturbed, and then while one thing after the other is killed (SIGKILL), stopped
(SIGSTOP) or hangs (a loop of Python that never ends): a rank, while it trains and while it starts,
Ray's raylet or head, Ray Train's controller or the actor that collects what ranks tell, the command
itself. What ends a command, ``resume=`` takes up. Faults and moments are drawn with ``--seed``.

Each fault is a row: whether the run went on, epochs trained again, seconds to the next new epoch,
what was left. A run's final weights are compared with the undisturbed run's, bit for bit. ``--rows
FILE`` appends the rows to a file, and the table is of all that it holds; ``--faults 1`` is a short
try, ``--faults 0`` only the table.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path

import psutil
from campaign import rows as told
from campaign.command import RESTART, Command, last_run, statuses
from campaign.rows import Row
from measuring import CONSOLE

FRAMEWORKS = ("torch", "tf", "paddle")
ENGINES = ("actors", "train")
# Those that wait for cluster.start_timeout_s come last, as there is one less of the last.
KINDS = ("rank 0", "rank 1", "stop 0", "stop 1", "hang 0", "hang 1", "raylet", "head", "command")
OF_TRAIN = ("controller", "mailbox")
STARTS = ("start stop", "start hang")
SIGNALS = {"stop": signal.SIGSTOP, "hang": signal.SIGUSR1}
OPTIONS = ("model=mlp", "data=mnist5k", "device=cpu", "gpus=2", "execution=eager")
QUICK = ("tracking.log_model=false", "tracking.system_metrics=false", "measure_exchange=false")
PATIENT = (
    "failures.max=100",
    "cluster.silence_timeout_s=8",
    "cluster.start_timeout_s=60",
)
RECOVERY_S = 240
"""After so long a run that does not go on has hung, which is an outcome of its own."""
KEPT = frozenset({"outputs", "mlruns", "hang", "torchinductor_root"})
"""What a command may leave in its folder: torch's cache, too."""


class Campaign:
    """The faults of one framework with one engine.

    Parameters
    ----------
    folder:
        Where its commands are given.
    framework, engine:
        What they run.
    epochs:
        For how many epochs.
    draw:
        What draws the moments.
    """

    def __init__(
        self, folder: Path, framework: str, engine: str, epochs: int, draw: random.Random
    ) -> None:
        self._folder, self._framework, self._engine, self._draw = folder, framework, engine, draw
        run = (f"framework={framework}", f"engine={engine}", f"epochs={epochs}")
        self._base = (*run, *OPTIONS, *QUICK)
        self._dead: list[tuple[Command, Row]] = []

    def calm(self) -> str:
        """The weights of a run that nothing disturbs."""
        command = Command(self._folder, self._base)
        if command.process.wait():
            raise RuntimeError(command.text[-2000:])
        return _weights(self._folder)

    def disturbed(self, faults: list[str], expected: str) -> list[Row]:
        """A run that meets faults until it ends or there are none left, which are taken away."""
        rows: list[Row] = []
        same = None
        command: Command | None = Command(self._folder, (*self._base, *PATIENT))
        while command is not None and faults:
            known = len(command.epochs)
            if not command.wait(lambda: len(command.epochs) > known, RECOVERY_S):  # noqa: B023
                break
            time.sleep(self._draw.uniform(0, 1))
            target = self._aim(command, faults[0])
            if target is None:
                break
            row = Row(self._framework, self._engine, faults.pop(0), command.epochs[-1])
            rows.append(row)
            command = self._strike(command, target, row)
            if row.outcome == "over before":
                faults.insert(0, rows.pop().fault)
                if command is None:
                    same = _weights(self._folder) == expected
                break
            CONSOLE.print(json.dumps(asdict(row)), markup=False, soft_wrap=True)
        if command is not None:
            ended = command.wait(lambda: command.code is not None, RECOVERY_S)
            if not ended or command.code:
                CONSOLE.print(f"exit {command.code}: {command.text[-2000:]}", markup=False)
            same = ended and command.code == 0 and _weights(self._folder) == expected
            if rows:
                rows[-1].left = command.left()
        for row in rows:
            row.equal = same
        for other, row in self._dead:
            row.left, row.gone_s = other.left(), other.gone_s
        self._dead.clear()
        if rows:
            rows[-1].left = "; ".join(filter(None, (rows[-1].left, *self._traces())))
        elif faults:
            CONSOLE.print(f"{faults.pop(0)}: no such process, or a run that was too short")
        return rows

    def _aim(self, command: Command, fault: str) -> psutil.Process | None:
        """The process that a fault is for, which may have to start first."""
        if fault not in STARTS:
            kind, _, rank = fault.partition(" ")
            return command.find(f"rank {rank}" if kind in SIGNALS else fault)
        ranks = [command.find(f"rank {number}") for number in range(2)]
        if None in ranks:
            return None
        before, restarts = frozenset(one.pid for one in ranks if one), _restarts(command)
        ranks[1].kill()  # type: ignore[union-attr]
        command.wait(lambda: _restarts(command) > restarts, RECOVERY_S)
        which, found = f"rank {self._draw.choice('01')}", []
        command.wait(lambda: found.append(command.find(which, before)) or found[-1], RECOVERY_S)
        time.sleep(self._draw.uniform(0, 1.5))
        return found[-1]

    def _strike(self, command: Command, target: psutil.Process, row: Row) -> Command | None:
        """Let a fault happen; the command that goes on, be it another, or None."""
        restarts, told, begun = _restarts(command), len(command.epochs), time.monotonic()
        last = command.epochs[-1]
        kind = next((one for one in SIGNALS if one in row.fault.split()), "")
        target.send_signal(SIGNALS.get(kind, signal.SIGKILL))
        if row.fault != "command":
            if command.wait(lambda: _restarts(command) > restarts, RECOVERY_S):
                told = len(command.epochs)
                row.said, after = RESTART.findall(command.text)[-1]
                row.epoch = command.epochs[-1]
                row.lost_epochs = row.epoch + 1 - int(after)
                went_on = command.wait(lambda: len(command.epochs) > told, RECOVERY_S)
                row.seconds = time.monotonic() - begun
                if went_on:
                    row.outcome = "went on"
                    return command
            if command.code is None:
                row.outcome, row.said = "hung", command.text[-1000:]
                command.process.send_signal(signal.SIGINT)
                command.wait(lambda: command.code is not None, 60)
                self._dead.append((command, row))
                return None
            if command.code == 0:
                row.outcome = "over before"
                return command
        row.code = command.process.wait(timeout=RECOVERY_S)
        row.status = "RUNNING" if statuses(self._folder)["RUNNING"] else "not RUNNING"
        if row.fault == "command" and row.status == "not RUNNING":
            row.outcome = "over before"  # killed when its run had ended in order
            return None
        row.said = row.said or "".join(command.text.splitlines(keepends=True)[-6:])
        last = max(last, *command.epochs)
        self._dead.append((command, row))
        again = time.monotonic()
        patience = (*PATIENT, *(one for one in QUICK if one.startswith("tracking.")))
        resumed = Command(self._folder, (f"resume={last_run(self._folder)}", *patience))
        resumed.wait(lambda: _gone(command) and resumed.epochs, RECOVERY_S)
        if resumed.epochs or resumed.code == 0:  # after the last epoch there is none
            row.outcome, row.seconds = "resumed", time.monotonic() - again
            row.lost_epochs = last + 1 - resumed.epochs[0] if resumed.epochs else 0
            return resumed
        row.outcome = "not resumed"
        CONSOLE.print(resumed.text[-2000:], markup=False)
        resumed.process.kill()
        return None

    def _traces(self) -> list[str]:
        """Folders and runs that are left when no command is."""
        names = {one.name.lstrip(".").rpartition("-")[0] or one.name for one in self._strangers()}
        running = statuses(self._folder)["RUNNING"]
        return [*sorted(names), *([f"{running} RUNNING"] if running else [])]

    def _strangers(self) -> list[Path]:
        found = self._folder.iterdir()
        return [one for one in found if one.name not in KEPT and not one.name.startswith("out-")]


def _gone(command: Command) -> bool:
    """Have a dead command looked at, so that its last process is noticed when it ends."""
    command.is_gone()
    return True


def _restarts(command: Command) -> int:
    return len(RESTART.findall(command.text))


def _weights(folder: Path) -> str:
    files = folder.glob("outputs/*/*/summary.json")
    newest = max(files, key=lambda one: one.stat().st_mtime)
    return str(json.loads(newest.read_text())["final_weights_sha256"])


def campaign(
    framework: str, engine: str, faults: list[str], epochs: int, seed: int, file: Path
) -> None:
    """One undisturbed run, and as many disturbed ones as the faults need."""
    with tempfile.TemporaryDirectory(prefix="df-", dir="/tmp") as name:
        draw = random.Random(f"{framework} {engine} {seed}")
        one = Campaign(Path(name), framework, engine, epochs, draw)
        expected = one.calm()
        while faults:
            for row in one.disturbed(faults, expected):
                told.add(file, row)


def main() -> None:
    """Run the campaign and print its table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--frameworks", nargs="+", default=FRAMEWORKS, choices=FRAMEWORKS)
    arguments.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    arguments.add_argument("--faults", type=int, default=20, help="of each framework and engine")
    arguments.add_argument("--kinds", nargs="+", help="these in turn, instead of random ones")
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--together", type=int, default=2, help="commands at the same time")
    arguments.add_argument("--rows", type=Path, help="a file of rows, which others are added to")
    asked = arguments.parse_args()
    file = asked.rows or Path(tempfile.mkdtemp()) / "faults.jsonl"
    ended = []
    with ThreadPoolExecutor(asked.together) as pool:
        for framework, engine in product(asked.frameworks, asked.engines) if asked.faults else ():
            kinds = (*KINDS, *(OF_TRAIN if engine == "train" else ()), *STARTS)
            draw = random.Random(f"{asked.seed} {framework} {engine}")
            # Each kind as often as any other, in a random order.
            every = list(kinds) * (asked.faults // len(kinds) + 1)
            faults = asked.kinds or draw.sample(every[: asked.faults], asked.faults)
            one = (framework, engine, list(faults), asked.epochs, asked.seed, file)
            ended.append(pool.submit(campaign, *one))
    for future in ended:
        future.result()
    if not file.exists():
        sys.exit(f"no rows in {file}")
    CONSOLE.print(told.table(told.read(file)), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()

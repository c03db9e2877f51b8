"""Running the command line as a user does, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

SECONDS = 600
"""A guard against a hang; a command takes a tenth of it."""
COMMAND = [sys.executable, "-m", "distlab.launch"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    "CUDA_VISIBLE_DEVICES": "",
}
# eager: it is ready at once, and what is tested with it is the same for both executions.
SMALL_JOB = (
    "framework=torch",
    "framework.execution=eager",
    "model=mlp",
    "data=mnist5k",
    "device=cpu",
)
STRONG_JOB = (
    *SMALL_JOB,
    "scaling=strong",
    "batch_size=48",
    "epochs=2",
    "execution=eager",
)
"""What any number of workers computes alike."""
SECRET = "framework.env.HF_TOKEN=hf-S3cret"
# Words that Hydra could not read as they stand.
TEXT = "framework.env.NOTE=é, (a=b)"


def may_take_niceness_back() -> bool:
    """Whether a process here may lower its niceness: as root, unless a container forbids it."""
    code = "import os; os.setpriority(0, 0, 19); os.setpriority(0, 0, 0)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@dataclass(frozen=True)
class Ended:
    """What a command left: exit code, output, and the folder it ran in."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def run_dir(self) -> Path:
        """The folder of the only run."""
        (found,) = (self.folder / "outputs").glob("*/*")
        return found

    def mlflow_run(self) -> Run:
        """The only run in MLflow."""
        client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        experiment = client.get_experiment_by_name("distlab")
        (run,) = client.search_runs([experiment.experiment_id])
        return run


def run(
    folder: Path,
    *arguments: str,
    command: list[str] = COMMAND,
    environment: dict[str, str] = ENVIRONMENT,
) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr, folder)


def refused(ended: Ended) -> list[str]:
    """The lines of a refusal, which is short and has three parts."""
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    lines = ended.err.splitlines()
    assert len(lines) <= 12, ended.err
    assert lines[0] == "distlab: error"
    assert [line[:6] for line in lines if re.match(r"asked:|found:|fix:", line)] == [
        "asked:",
        "found:",
        "fix:  ",
    ]
    return lines


class Running:
    """A command that goes on while the test looks at it; in a session of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._out = folder / "stdout.txt"
        self._err = folder / "stderr.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=folder,
                env=ENVIRONMENT,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._guard = threading.Timer(SECONDS, self.process.kill)
        self._guard.start()

    def wait_for(self, pattern: str) -> str:
        """Wait until a line of stdout matches; what its last group, else all of it, is."""
        while not (found := re.search(pattern, self._out.read_text(), re.MULTILINE)):
            assert self.process.poll() is None, self._err.read_text()
            time.sleep(0.05)
        return found[found.lastindex or 0]

    def processes(self) -> list[psutil.Process]:
        """The command's process and all that descend from it, Ray's and the workers' too."""
        driver = psutil.Process(self.process.pid)
        return [driver, *driver.children(recursive=True)]

    def worker(self, rank: int) -> psutil.Process:
        """The process that writes the log of a rank."""
        name = f"rank-{rank}.log"
        return next(
            process
            for process in self.processes()
            if any(file.path.endswith(name) for file in process.open_files())
        )

    def interrupt(self) -> None:
        """What Ctrl-C does in a terminal: SIGINT to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> Ended:
        """Wait for its end."""
        code = self.process.wait()
        self._guard.cancel()
        return Ended(code, self._out.read_text(), self._err.read_text(), self.folder)


def alive(processes: list[psutil.Process], seconds: float = 20) -> list[psutil.Process]:
    """Those that still run after a while; zombies have ended, though nobody may ask for them."""
    given_up = time.monotonic() + seconds
    while (left := [one for one in processes if _runs(one)]) and time.monotonic() < given_up:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

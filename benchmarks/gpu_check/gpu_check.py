"""Whether distlab's backends are right and fast on a device: ten minutes on a borrowed machine.

    python benchmarks/gpu_check/gpu_check.py [--device gpu] [--frameworks torch,tf,paddle]

It needs Python, NumPy and the frameworks that it is to look at; no Ray, MLflow or Hydra. It runs
distlab's own backends, loop, conformance checks and reference: both models in each execution and
precision, the framework's quickstart on the same images, and conformance. A table, answers to what
only a GPU can tell (``report.py``), and ``gpu_check.json``; exit code 1 if anything was wrong.
**Not yet run on a GPU**; ``--device cpu`` is its twin.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import images
import models
import report
from training import BACKENDS

from distlab.conformance import examine
from distlab.conformance.problem import pose
from distlab.machine.devices import driver
from distlab.machine.devices.nvml import Gpu

PACKAGES = {"torch": "torch", "tf": "tensorflow", "paddle": "paddle"}
PRECISIONS = {"cpu": ["fp32,bf16"], "gpu": ["fp32,bf16", "tf32"]}
"""What one process goes through: NVIDIA's libraries look once whether TF32 is forbidden."""
SETTINGS = {
    "torch": {},
    "tf": {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"},
    "paddle": {"FLAGS_new_executor_serial_run": "1", "GLOG_minloglevel": "2"},
}
"""Of ``conf/framework/``, for machines without PyYAML."""


LEAST_S = 10.0
"""With less time left nothing is begun."""
OVER = "again, what was compiled is kept; or --minutes 20, or fewer --models, --executions ..."
"""What helps where it was."""


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


def take_first_gpu() -> None:
    """Let all that follows see one GPU, by the number that nvidia-smi and NVML give it."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    os.environ.update(CUDA_VISIBLE_DEVICES=named or "0", CUDA_DEVICE_ORDER="PCI_BUS_ID")


def surroundings() -> dict[str, Any]:
    """What must be there before anything runs, and what is."""
    gpu = Gpu.visible()
    state = gpu.state() if gpu else None
    header = Path(sysconfig.get_path("include"), "Python.h")
    return {
        "python": sys.version.split()[0],
        "driver": driver.version(),
        "c_compiler": shutil.which(os.environ.get("CC", "gcc")) or shutil.which("clang"),
        "python_header": header.is_file(),
        "gpu": gpu.facts() if gpu else None,
        "other_processes_on_gpu": state.others if state else None,
    }


class Budget:
    """How much of the time is left."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds until the end, at least one."""
        return max(1.0, self._end - time.monotonic())

    def part(self, share: float) -> "Budget":
        """A share of what is left."""
        return Budget(share * self.left / 60)


def run(script: Path, arguments: list[str], environment: dict[str, str], limit: float) -> list[str]:
    """What a script printed to its standard output, line by line; the end of its errors at last."""
    merged = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    try:
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            capture_output=True, text=True, timeout=limit, env=merged, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        text = out.decode(errors="replace") if isinstance(out, bytes) else out
        return [*text.splitlines(), f"ENDED after {limit:.0f} s: the time was over"]
    lines = done.stdout.splitlines()
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        lines.append(f"ENDED with exit code {done.returncode}: {last}")
    return lines


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at."""

    device: str
    place: Path
    epochs: int
    names: list[str]
    executions: list[str]
    precisions: list[str]


def conformance(framework: str, wanted: Wanted, budget: Budget) -> list[dict[str, Any]]:
    """The contract's checks of one worker."""
    problems = {
        name: pose(name, models.spec(name), partial(images.load, wanted.place))
        for name in wanted.names
    }
    found: list[dict[str, Any]] = []
    for execution, name in product(wanted.executions, wanted.names):
        if budget.left < LEAST_S:
            why = "not looked at: the time was over"
            found.append({"check": "all", "execution": execution, "model": name, "detail": why})
            found[-1]["passed"] = False
            continue
        outcomes = examine(
            BACKENDS[framework],
            models=[name],
            execution=execution,
            env=SETTINGS[framework],
            timeout_s=budget.left,
            device=wanted.device,
            worlds=(1,),
            problems=problems,
        )
        found += [vars(outcome) for outcome in outcomes]
    return found


def training(framework: str, wanted: Wanted, budget: Budget) -> list[dict[str, Any]]:
    """Every cell, in one process for each setting of TF32."""
    found = []
    for together in PRECISIONS[wanted.device]:
        precisions = ",".join(one for one in together.split(",") if one in wanted.precisions)
        if not precisions:
            continue
        forbidden = {} if precisions == "tf32" else {"NVIDIA_TF32_OVERRIDE": "0"}
        environment = {**SETTINGS[framework], **forbidden}
        arguments = [framework, wanted.device, str(wanted.place), str(wanted.epochs)]
        arguments += [",".join(wanted.names), ",".join(wanted.executions), precisions]
        for line in run(HERE / "training.py", arguments, environment, budget.left):
            if line.startswith("RESULT "):
                found.append(json.loads(line.removeprefix("RESULT ")))
            elif line.startswith("ENDED"):
                found.append({"framework": framework, "precision": precisions, "wrong": [line]})
    return found


def quickstart(framework: str, wanted: Wanted, budget: Budget) -> dict[str, Any]:
    """Samples a second of the framework's own quickstart, after its first epoch, by model."""
    found: dict[str, Any] = {}
    script = HERE.parent / "peers" / f"{framework}_quickstart.py"
    epochs = str(min(3, wanted.epochs))
    for name in wanted.names:
        arguments = ["--model", name, "--epochs", epochs, "--device", wanted.device]
        environment = {**SETTINGS[framework], "DISTLAB_DATA_DIR": str(wanted.place)}
        last = (run(script, arguments, environment, budget.left) or ["no word"])[-1]
        if last.startswith("{"):
            record = json.loads(last)
            found[name] = 64 * record["steps"] / record["seconds"]
        else:
            found[name] = last
    return found


PARTS = {training: 0.6, quickstart: 0.25, conformance: 1.0}
"""What is done, in this order, and which share of the time that is left each may take."""


def main() -> int:
    """Check each framework that is there; 0 if all is right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--frameworks", default="torch,tf,paddle", help="those that are installed")
    parser.add_argument("--data", help="folder with MNIST's four files; else DISTLAB_DATA_DIR")
    parser.add_argument("--models", default=",".join(models.LAYERS))
    parser.add_argument("--executions", default="eager,graph")
    parser.add_argument("--precisions", default="fp32,bf16,tf32")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each framework")
    parser.add_argument("--output", type=Path, default=Path("gpu_check.json"))
    arguments = parser.parse_args()
    if arguments.device == "gpu":
        take_first_gpu()
    with tempfile.TemporaryDirectory() as empty:
        place, what = images.folder(arguments.data, Path(empty))
        names, executions = arguments.models.split(","), arguments.executions.split(",")
        precisions = arguments.precisions.split(",")
        wanted = Wanted(arguments.device, place, arguments.epochs, names, executions, precisions)
        told: dict[str, Any] = {"device": wanted.device, "data": what, "epochs": wanted.epochs}
        told |= {"surroundings": surroundings(), "frameworks": []}
        say(f"data: {what}\n{report.surroundings(told['surroundings'])}")
        for framework in arguments.frameworks.split(","):
            if find_spec(PACKAGES[framework]) is None:
                say(f"\n{framework}: not installed")
                continue
            budget = Budget(arguments.minutes)
            result: dict[str, Any] = {"framework": framework, "seconds": {}}
            for part, share in PARTS.items():
                before = budget.left
                result[part.__name__] = part(framework, wanted, budget.part(share))
                result["seconds"][part.__name__] = round(before - budget.left, 1)
            told["frameworks"].append(result)
            say("\n".join(report.lines(result)))
            if budget.left < LEAST_S:
                say(f"  the time was over: {OVER}")
            arguments.output.write_text(json.dumps(told, indent=1) + "\n")
    say(f"\n{report.LEGEND}\nwritten: {arguments.output}")
    results = told["frameworks"]
    return 0 if results and all(map(report.right, results)) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The scripts whose lines the scorecard counts: each really trains, on two processes."""

import json
import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from distlab.data.sources import load
from distlab.report.figures.code_lines import tutorial

LAUNCHERS = {
    "torch": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"],
    "paddle": ["-m", "paddle.distributed.launch", "--nproc_per_node=2"],
}


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data in the form of Keras's ``mnist.npz``."""
    data = load("mnist5k", None)
    path = tmp_path_factory.mktemp("data") / "mnist.npz"
    np.savez(
        path,
        x_train=data.train_images,
        y_train=data.train_labels,
        x_test=data.test_images,
        y_test=data.test_labels,
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "package"), [("torch", "torch"), ("tf", "tensorflow"), ("paddle", "paddle")]
)
def test_a_tutorial_learns_on_two_processes(
    framework: str, package: str, mnist: Path, tmp_path: Path
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (name,) = tutorial(framework)
    script = str(Path(__file__).parents[3] / name)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if framework == "tf":
        workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
        places = [
            {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            for index in range(2)
        ]
        commands = [([script], {"TF_CONFIG": json.dumps(place)}) for place in places]
    else:
        commands = [([*LAUNCHERS[framework], script], {})]
    running = [
        subprocess.Popen(
            [sys.executable, *command, str(mnist)],
            env={**environment, **more},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, more in commands
    ]
    said = "".join(process.communicate(timeout=600)[0] for process in running)
    # Paddle's launcher shows rank 0's output only where there is a terminal.
    said += "".join(path.read_text() for path in tmp_path.rglob("workerlog.0"))
    assert [process.returncode for process in running] == [0] * len(running), said[-3000:]
    accuracies = [float(found) for found in re.findall(r"epoch 3: test accuracy ([\d.]+)", said)]
    assert accuracies and min(accuracies) > 0.5, said[-3000:]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

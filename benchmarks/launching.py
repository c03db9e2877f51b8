"""Start distlab and its peers as a user would, each in fresh processes, and read their records."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
TIMEOUT_S = 3600
PEER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def distlab(folder: Path, *overrides: str, **environment: str) -> dict[str, Any]:
    """One run of ``python -m distlab.launch`` in ``folder``; its summary."""
    command = [sys.executable, "-m", "distlab.launch", "device=cpu", *overrides]
    before = set(folder.glob("outputs/*/*/summary.json"))
    run(command, folder, {**os.environ, **environment})
    (new,) = set(folder.glob("outputs/*/*/summary.json")) - before
    summary: dict[str, Any] = json.loads(new.read_text())
    if not summary["verified"]:
        raise RuntimeError(f"unverified: {summary['checks']}")
    return summary


def quickstart_peer(framework: str, *arguments: str) -> dict[str, Any]:
    """One run of the framework's quickstart peer; its record, with ``command_time``."""
    script = str(PEERS / f"{framework}_quickstart.py")
    started = time.time()
    output = run([sys.executable, script, *arguments], None, {**os.environ, **PEER_ENVIRONMENT})
    return {"command_time": started, **_record(output)}


def parallel_peer(framework: str, workers: int, *arguments: str) -> dict[str, Any]:
    """One run of the framework's data-parallel peer under its own launcher."""
    environment = {**os.environ, **PEER_ENVIRONMENT}
    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        if framework == "torch":
            script = str(PEERS / "torch_ddp.py")
            launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={workers}"]
            output = run([sys.executable, "-m", *launcher, script, *arguments], None, environment)
        elif framework == "paddle":
            # An empty list of GPUs makes Paddle's launcher fail; without one it counts none.
            del environment["CUDA_VISIBLE_DEVICES"]
            script = str(PEERS / "paddle_parallel.py")
            launcher = ["paddle.distributed.launch", f"--nproc_per_node={workers}"]
            launcher += [f"--log_dir={folder}", "--enable_gpu_log=False"]
            run([sys.executable, "-m", *launcher, script, *arguments], None, environment)
            output = (Path(folder) / "workerlog.0").read_text()
        else:
            output = _tensorflow_workers(workers, arguments, environment)
    return {"command_time": started, **_record(output)}


def _tensorflow_workers(workers: int, arguments: tuple[str, ...], environment: dict) -> str:
    """Start each worker by hand with its ``TF_CONFIG``; the first one's output."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    command = [sys.executable, str(PEERS / "tf_multiworker.py"), *arguments]
    processes = []
    for index in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                command,
                env={**environment, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if index == 0 else subprocess.DEVNULL,
                text=True,
            )
        )
    try:
        output, errors = processes[0].communicate(timeout=TIMEOUT_S)
        codes = [process.wait(timeout=60) for process in processes]
        if any(codes):
            raise RuntimeError(f"{' '.join(command)} ended with {codes}:\n{errors[-4000:]}")
    finally:
        for process in processes:
            process.kill()
    return output


def run(command: list[str], folder: Path | None, environment: Any) -> str:
    """Run a command to its end; its stdout, or RuntimeError with its last words."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        words = (output + errors)[-4000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{words}")
    return output


def _end(process: subprocess.Popen) -> None:
    """End a command and what it started: as Ctrl-C does, and by force if that is not heard."""
    for number, patience in ((signal.SIGINT, 20), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def free_ports(count: int) -> list[int]:
    """TCP ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _record(output: str) -> dict[str, Any]:
    """The peer's line of JSON among other output."""
    lines = [line for line in output.splitlines() if line.startswith('{"steps"')]
    if len(lines) != 1:
        raise RuntimeError(f"a peer told {len(lines)} records instead of 1:\n{output[-4000:]}")
    record: dict[str, Any] = json.loads(lines[0])
    return record

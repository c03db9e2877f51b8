import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import command
import psutil
import pytest
import ray

from distlab.cluster import connect
from distlab.cluster.connect import Resources
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment

JOB = (*command.SMALL_JOB, "epochs=1")


# Ray asks for the token of the user's home, if there is one; this Ray has a token of its own.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("overrides", "cpus", "needed"),
    [(["gpus=4"], 3, 4), (["gpus=2", "threads_per_worker=4"], 7, 8)],
)
def test_more_threads_than_the_cluster_has_cpus_is_refused(
    experiment: Callable[..., Experiment], overrides: list[str], cpus: int, needed: int
) -> None:
    local = experiment(*overrides).options
    assert connect.place(local, Resources(cpus, 0, 1)).world_size == local.gpus
    options = experiment("cluster=existing", *overrides).options
    with pytest.raises(DistlabError) as caught:
        connect.place(options, Resources(cpus, 0, 1))
    assert f"{needed} CPUs" in caught.value.asked
    assert f"Ray has {cpus} CPUs" in caught.value.found
    assert connect.place(options, Resources(needed, 0, 1)).world_size == options.gpus


def test_a_start_that_took_too_long_is_tried_again(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray gives up after 30 s with a bare ``Exception``; here it does so at once."""
    tried: list[Exception] = []
    slow = [Exception("The current node timed out during startup. ..."), TimeoutError("Timed out")]

    def init(**_: object) -> None:
        if len(tried) < len(slow):
            tried.append(slow[len(tried)])
            raise tried[-1]

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "nodes", lambda: [{}])
    assert connect.connect(experiment().options) == Resources(2, 0, 1)
    assert tried == slow
    slow.extend([Exception("timed out\nonce more")] * connect.STARTS)
    tried.clear()
    with pytest.raises(DistlabError) as caught:
        connect.connect(experiment().options)
    assert len(tried) == connect.STARTS
    assert "timed out once more" not in caught.value.found and "cluster=local" in caught.value.asked


def test_a_start_that_fails_at_once_is_told_and_not_tried_again(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def init(**_: object) -> None:
        tried.append(1)
        raise ValueError("AF_UNIX path length cannot exceed 107 bytes\nmore")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(DistlabError) as caught:
        connect.connect(experiment().options)
    assert tried == [1]
    assert caught.value.found == "Ray said: AF_UNIX path length cannot exceed 107 bytes"


@pytest.mark.slow
def test_joining_where_no_ray_runs_is_refused(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = command.run(tmp_path, *JOB, "cluster=existing", f"cluster.address={address}")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) <= 8, ended.err
    assert address in ended.err and "ray start --head" in ended.err


@pytest.fixture
def head() -> Iterator[str]:
    """A Ray that somebody started, in a process group and with a session folder of its own.

    It is ended by its process group: `ray stop` would end every Ray of the machine.
    """
    # Ray's sockets live below this folder, and their paths may not be longer than 107 bytes.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    port = free_port()
    ray = Path(sys.executable).with_name("ray")
    arguments = (f"--port={port}", f"--temp-dir={folder}", "--num-cpus=2", "--num-gpus=0")
    quiet = ("--include-dashboard=false", "--disable-usage-stats")
    process = subprocess.Popen(
        [ray, "start", "--head", "--block", *arguments, *quiet],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**command.ENVIRONMENT, **TOKEN},
        start_new_session=True,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "ray start failed"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        processes = list(_family(process.pid))
        os.killpg(process.pid, signal.SIGTERM)
        left = command.alive(processes, seconds=1)  # Ray's own end takes more than 15 s
        for one in left:
            one.kill()
        process.wait()
        assert command.alive(left, seconds=5) == []
        shutil.rmtree(folder, ignore_errors=True)


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@pytest.mark.slow
def test_joining_a_running_ray_trains_on_it_and_leaves_it_running(
    tmp_path: Path, head: str
) -> None:
    ended = command.run(
        tmp_path,
        *JOB,
        "gpus=2",
        "cluster=existing",
        f"cluster.address={head}",
        environment={**command.ENVIRONMENT, **TOKEN},
    )
    assert ended.code == 0, ended.out + ended.err
    assert ended.err == ""
    found = json.loads((ended.run_dir / "summary.json").read_text())
    assert found["world_size"] == 2 and found["verified"], found["checks"]
    host, port = head.split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) == 0, "distlab stopped a Ray that isn't its own"

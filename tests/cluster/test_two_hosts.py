"""Commands on two hosts with one Ray: names that lead elsewhere, and a pulled cable.

The hosts are namespaces of Linux with a network of their own. What a name leads to, and whether a
host that is gone is noticed, can be seen on no single one.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hosts
import pytest
from command import ENVIRONMENT, SECONDS, SMALL_JOB

pytestmark = [pytest.mark.slow, hosts.needed]

BIN = Path(sys.executable).parent
DOCKER = "172.17.0.1"
"""An address that each host has on an interface of its own, as Docker's bridge."""
QUICK_TO_NOTICE = {
    # Ray's head looks after its nodes; by default it takes a minute to be sure.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass
class Pair:
    """Two hosts, the first of them with the head of a Ray that asks for a token."""

    red: hosts.Host
    blue: hosts.Host
    environment: dict[str, str]

    def ray(self, host: hosts.Host, *words: str) -> None:
        """Start Ray on a host, and wait until it runs."""
        log = host.folder / "ray.log"
        common = ("--num-cpus=2", "--object-store-memory=200000000", "--block")
        host.start(
            *(BIN / "ray", "start", *words, f"--node-ip-address={host.address}", *common),
            environment=self.environment,
            log=log,
        )
        deadline = time.monotonic() + SECONDS
        while "Ray runtime started" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def command(self, folder: Path, *words: str) -> "Command":
        """Start distlab on the first host."""
        folder.mkdir()
        asked = (
            *("cluster=existing", "cluster.address=10.77.0.1:6379", *SMALL_JOB),
            *("tracking.log_model=false", "tracking.system_metrics=false", *words),
        )
        log = folder / "output.log"
        process = self.red.start(
            *(sys.executable, "-m", "distlab.launch", *asked),
            environment=self.environment,
            cwd=folder,
            log=log,
        )
        return Command(folder, process, log)


@dataclass
class Command:
    """A command that runs on a host."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_for(self, text: str) -> None:
        """Wait until the command has printed a text."""
        deadline = time.monotonic() + SECONDS
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def end(self, code: int = 0) -> str:
        """Wait for its end; returns what it printed."""
        found = self.process.wait(SECONDS)
        assert found == code, self.log.read_text()
        return self.log.read_text()

    @property
    def summary(self) -> dict[str, Any]:
        (file,) = self.folder.glob("outputs/*/*/summary.json")
        found: dict[str, Any] = json.loads(file.read_text())
        return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two hosts whose names lead where Debian's and Docker's do, with one Ray."""
    folder = tmp_path_factory.mktemp("hosts")
    token = folder / "token"
    token.write_text("5" * 64)
    token.chmod(0o600)
    environment = {
        **QUICK_TO_NOTICE,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "CUDA_VISIBLE_DEVICES": "",
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": ENVIRONMENT.get("PYTHONPATH", ""),
    }
    with hosts.two(folder) as (red, blue):
        for host in (red, blue):
            host.ip("link", "add", "docker0", "type", "veth", "peer", "name", "docker1")
            host.ip("address", "add", f"{DOCKER}/16", "dev", "docker0")
            host.ip("link", "set", "docker0", "up")
        made = Pair(red, blue, environment)
        made.ray(red, "--head", "--port=6379", "--include-dashboard=false")
        made.ray(blue, "--address=10.77.0.1:6379")
        yield made


def places(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Where its ranks were, in no order: which host has rank 0 is Ray's choice."""
    return sorted((one["host"], one["address"], one["interface"]) for one in summary["ranks"])


BOTH = [("blue", "10.77.0.2", hosts.CABLE), ("red", "10.77.0.1", hosts.CABLE)]


def test_tensorflow_and_paddle_train_across_hosts_and_paddle_says_which_name_to_mend(
    pair: Pair, tmp_path: Path
) -> None:
    pair.red.call("127.0.1.1 red.lan red")
    pair.blue.call(f"{DOCKER} blue")
    words = ("gpus=2", "epochs=1", "placement=spread")
    tf = pair.command(tmp_path / "tf", *words, "framework=tf", "engine=actors")
    refused = pair.command(tmp_path / "refused", *words, "framework=paddle", "engine=actors")
    told = refused.end(1)
    # Both hosts are wrong, and the one that says so first is told.
    first, leads = ("red", "127.0.1.1") if "on red" in told else ("blue", DOCKER)
    assert f"on {first} the host's own name leads to {leads} (/etc/hosts, line 2" in told
    address = {host.name: host.address for host in (pair.red, pair.blue)}[first]
    assert f"fix:   on {first}, in /etc/hosts: {address} {first}" in told
    tf.end()
    for host in (pair.red, pair.blue):
        host.call(f"{host.address} {host.name}")
    paddle = pair.command(tmp_path / "paddle", *words, "framework=paddle", "engine=actors")
    told = paddle.end()
    assert "(placement=spread: 2 of Ray's 2 hosts)" in told
    for run in (tf, paddle):
        assert run.summary["verified"], run.summary["checks"]
        assert places(run.summary) == BOTH


def test_torch_goes_on_where_there_is_room_when_the_cable_is_pulled(
    pair: Pair, tmp_path: Path
) -> None:
    pair.red.call("127.0.1.1 red.lan red")
    pair.blue.call(f"{DOCKER} blue")
    words = ("gpus=2", "epochs=60", "placement=spread", "engine=actors")
    run = pair.command(tmp_path / "torch", *words, f"network.interface={hosts.CABLE}")
    run.wait_for("epoch  2/60")  # so rank 0's state after the first has come, wherever rank 0 is
    pair.blue.unplug()
    told = run.end()
    assert re.search(r"worker \d on blue died", told), told
    assert run.summary["verified"], run.summary["checks"]
    first, *_, last = run.summary["stretches"]
    assert sorted(first["hosts"]) == ["blue", "red"]
    assert last["hosts"] == ["red"]

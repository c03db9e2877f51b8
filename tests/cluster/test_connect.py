import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import command
import fresh_process
import psutil
import pytest
import ray

from distlab.cluster import connect
from distlab.cluster.connect import Resources
from distlab.cluster.start import joining, local_ray
from distlab.cluster.watch.head import Head
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import Device
from distlab.machine import guard
from distlab.masking import mask

JOB = (*command.SMALL_JOB, "epochs=1")


# Ray asks for the token of the user's home, if there is one; this Ray has a token of its own.
ODD = {
    "OMP_PROC_BIND": "true",
    "GOMP_CPU_AFFINITY": "0-1",
    "KMP_AFFINITY": "granularity=fine,compact,1,0",
    "http_proxy": "http://127.0.0.1:9",
}
"""With these torch binds each worker to the first core. Nothing listens on port 9."""
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


NODE_DIED = """
import os, sys
import distlab.launch
from distlab.cluster import connect

assert "ray" not in sys.modules, "it would not see the settings"
os.environ.update(connect.SETTINGS)
from ray._private.worker import print_to_stdstream

said = "The node with node id: 5ebb and address: 10.0.0.2 has been marked dead\\nbecause ..."
print_to_stdstream({"lines": [said], "pid": "raylet", "is_err": False}, ignore_prefix=False)
"""


@pytest.mark.slow  # it imports Ray anew, which alone reads its settings then
def test_what_ray_prints_of_a_node_that_died_stays_off_the_terminal() -> None:
    ended = fresh_process.run(NODE_DIED)
    assert (ended.stdout, ended.stderr) == ("", "")


@pytest.mark.parametrize(
    ("overrides", "cpus", "needed"),
    [(["gpus=4"], 3, 4), (["gpus=2", "threads_per_worker=4"], 7, 8)],
)
def test_more_threads_than_the_cluster_has_cpus_is_refused(
    experiment: Callable[..., Experiment],
    overrides: list[str],
    cpus: int,
    needed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "autoscaled", lambda: False)
    local = experiment(*overrides).options
    assert connect.place(local, Resources(cpus, 0, 1)).world_size == local.gpus
    options = experiment("cluster=existing", *overrides).options
    with pytest.raises(DistlabError) as caught:
        connect.place(options, Resources(cpus, 0, 1))
    assert f"{needed} CPUs" in caught.value.asked
    assert f"Ray has {cpus} CPUs" in caught.value.found
    assert connect.place(options, Resources(needed, 0, 1)).world_size == options.gpus


def test_where_nodes_come_when_they_are_asked_for_workers_wait_for_them(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = experiment("cluster=existing", "gpus=4").options
    on_gpus = replace(options, device=Device.gpu)
    for grows in (True, False):
        monkeypatch.setattr(connect, "autoscaled", lambda grows=grows: grows)
        for asked, device in ((options, "cpu"), (on_gpus, "gpu")):
            if grows:
                placed = connect.place(asked, Resources(1, 0, 1))
                assert (placed.device, placed.world_size) == (device, 4)
            else:
                lacks = "1 CPUs" if device == "cpu" else "0 GPUs"
                with pytest.raises(DistlabError, match=f"Ray has {lacks}"):
                    connect.place(asked, Resources(1, 0, 1))


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
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": False}])
    monkeypatch.setattr(local_ray, "_remember_processes", lambda: None)
    assert connect.connect(experiment().options) == Resources(2, 0, 1)
    assert tried == slow
    slow.extend([Exception("timed out\nonce more")] * local_ray.STARTS)
    tried.clear()
    with pytest.raises(DistlabError) as caught:
        connect.connect(experiment().options)
    assert len(tried) == local_ray.STARTS
    assert "timed out\nonce more" in caught.value.found and "cluster=local" in caught.value.asked
    assert caught.value.may_pass


def test_a_start_that_fails_at_once_is_told_and_not_tried_again(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def init(**_: object) -> None:
        tried.append(1)
        raise ValueError("Traceback (most recent call last):\n  File a.py\nOSError: no room left")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(DistlabError) as caught:
        connect.connect(experiment().options)
    assert tried == [1]
    assert caught.value.found == "Ray said: OSError: no room left"


def test_a_ray_of_our_own_is_private_and_leaves_no_token_in_the_users_home(
    experiment: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would write one there, after which `ray start` asks for it on all machines."""
    asked: list[dict[str, Any]] = []
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_TMPDIR"):
        monkeypatch.setenv(name, "")  # so that what is set below goes again
        monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def init(**given: Any) -> None:
        asked.append({**given, guard.PRELOAD: os.environ.get(guard.PRELOAD)})

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(local_ray, "_remember_processes", lambda: None)
    stored = tmp_path / ".ray" / "auth_token"
    stored.parent.mkdir()
    stored.write_text("for others to read")
    preload = os.environ.get(guard.PRELOAD)
    with connect.disconnected_at_end():
        connect.connect(experiment().options)
        (given,) = asked
        folder = Path(given["_temp_dir"]).parent
        assert folder.stat().st_mode & 0o077 == 0
        assert given["_node_ip_address"] == "127.0.0.1"
        assert given[guard.PRELOAD].split(":")[0] == str(folder / "guard.so")
        assert os.environ.get(guard.PRELOAD) == preload, "of Ray's processes alone"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        assert Path(local_ray.folder_of_ranks()).parent == folder
    assert not folder.exists()
    assert stored.read_text() == "for others to read"
    assert joining.settings()["RAY_AUTH_MODE"] == "token", "and is shown to a Ray that is joined"
    stored.unlink()
    assert "RAY_AUTH_MODE" not in joining.settings()


def test_a_ray_without_a_guard_starts_and_the_reason_is_kept(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(local_ray, "_remember_processes", lambda: None)
    with connect.disconnected_at_end():
        connect.connect(experiment().options)
    assert "no C compiler" in local_ray.unguarded


@pytest.mark.parametrize(("reached", "left"), [(True, ["leave"]), (False, ["hang up", "leave"])])
def test_who_leaves_a_ray_that_does_not_answer_says_nothing_to_it(
    reached: bool, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after Ctrl-C on a host that is cut off."""
    said: list[str] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(Head, "reached", lambda: reached)
    monkeypatch.setattr(connect, "_hang_up", lambda: said.append("hang up"))
    monkeypatch.setattr(ray, "shutdown", lambda: said.append("leave"))
    with pytest.raises(KeyboardInterrupt), connect.disconnected_at_end():
        raise KeyboardInterrupt
    assert said == left


def test_who_else_could_reach_a_run_is_told(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert connect.strangers(experiment("gpus=2")) == []
    there = experiment("cluster=existing", "gpus=2")
    monkeypatch.setattr(joining, "open_to_all", "")
    (ports,) = connect.strangers(there)
    assert "whoever reaches them is this user" in ports
    assert connect.strangers(experiment("cluster=existing")) == []
    monkeypatch.setattr(joining, "open_to_all", "head:6379")
    assert "head:6379 asks nobody for a token" in connect.strangers(there)[0]
    # What is told is not taken for a secret's name and value.
    assert [mask(one) for one in connect.strangers(there)] == connect.strangers(there)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (disabled,) = connect.strangers(experiment())
    assert "RAY_AUTH_MODE=disabled" in disabled


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("ray://head:10001", "cluster.address=HEAD:6379"),
        ("http://head:8265", "cluster=job cluster.address=http://HEAD:8265"),
        ("head", "cluster.address=head:6379"),
        ("head:", "cluster.address=head:6379"),
    ],
)
def test_what_is_no_address_of_a_ray_is_said_with_the_one_that_is(address: str, fix: str) -> None:
    with pytest.raises(DistlabError) as caught:
        joining.join(address)
    assert address in caught.value.asked and fix in caught.value.fix


def test_an_address_where_something_else_listens_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.0 400 Bad request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DistlabError, match="no Ray"):
            joining.join(f"127.0.0.1:{port}")
        thread.join()


def test_where_auto_leads_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to the last address of a Ray that is no more."""
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(DistlabError) as caught:
        joining.join("auto")
    assert os.environ["RAY_ADDRESS"].split(":")[1] in caught.value.asked
    assert "none answered" in caught.value.found


@pytest.mark.parametrize(
    ("reason", "told", "fix"),
    [
        (
            "Version mismatch: The cluster was started with:\n    Ray: 2.0.0\n    Python: 3.9.1\n",
            "Ray: 2.0.0",
            "the same Ray and Python",
        ),
        ("RPC error: Unauthenticated: token\n" * 30, "asks for a token", "~/.ray/auth_token"),
        ("it burns\nbadly", "none answered: it burns", "cluster=local"),
    ],
)
def test_why_a_ray_cannot_be_joined(
    reason: str, told: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        os.write(2, b"a line of native code's\n")
        try:
            raise RuntimeError(reason if "uthen" not in reason else f"Authentication: {reason}")
        except RuntimeError as error:
            raise ConnectionError(reason if "burns" in reason else "Failed") from error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(joining, "_asks_for_token", lambda *_: True)
    with pytest.raises(DistlabError) as caught:
        joining.join("head:6379")
    assert told in caught.value.found and fix in caught.value.fix
    assert mask(caught.value.fix) == caught.value.fix, "it can be pasted"
    assert len(str(caught.value).splitlines()) <= 8


def test_native_code_is_silent_while_a_ray_is_tried(capfd: pytest.CaptureFixture[str]) -> None:
    with joining._silent_stderr():
        os.write(2, b"W gcs_client.cc: Unauthenticated\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_an_address_that_would_not_be_used_is_said(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DistlabError, match=r"cluster=existing cluster\.address=head:6379"):
        experiment("cluster.address=head:6379")
    options = experiment().options
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert connect.unused_address(options) is None
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert "head:6379" in str(connect.unused_address(options))
    assert connect.unused_address(experiment("cluster=existing").options) is None


def test_uv_gives_workers_no_environment_of_their_own() -> None:
    """`uv run` would; Ray looks at the setting when it is imported."""
    code = (
        "import os; from distlab.cluster import connect; os.environ.update(connect.SETTINGS)\n"
        "from ray._private import ray_constants\n"
        "print(ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=command.ENVIRONMENT, capture_output=True, check=True
    )
    assert told.stdout.strip() == b"False"


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
        env={**command.ENVIRONMENT, **TOKEN, **ODD},
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
    bound = ODD.keys() - {"http_proxy"}
    assert set(found["kept_from_workers"]) == bound == found["resources"]["kept_out"].keys()
    assert "kept from workers: GOMP_CPU_AFFINITY, KMP_AFFINITY, OMP_PROC_BIND" in ended.out
    assert ended.out.count("whoever reaches them is this user") == 1
    assert "asks nobody for a token" not in ended.out
    assert set(found["resources"]["cpu_affinity"]) == os.sched_getaffinity(0)
    # Ray's own workers are at 15, which not every process may take back.
    asked = os.getpriority(os.PRIO_PROCESS, 0)
    assert found["resources"]["nice"] == (
        asked if command.may_take_niceness_back() else max(asked, 15)
    )
    host, port = head.split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) == 0, "distlab stopped a Ray that isn't its own"

"""Kept workers, on a real Ray, with a backend that starts at once."""

import hashlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import borrowed
import numpy_sockets
import psutil
import pytest
import ray
import stranger
from omegaconf import DictConfig
from ray.util.placement_group import placement_group, remove_placement_group

from distlab import __version__
from distlab.cluster import connect
from distlab.cluster.actor import RankActor
from distlab.cluster.group import WorkerGroup
from distlab.cluster.start import waiting
from distlab.data.dataset import Dataset
from distlab.environment.kept import Kept, keep
from distlab.errors import DistlabError, DivergedError, StalledError, WorkerError
from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.options import ClusterMode
from distlab.experiment.task import Task
from distlab.experiment.validate import validate
from distlab.outcome.events import Event, Finished, Notice, Ready, Started

pytestmark = pytest.mark.slow

NUMPY = "numpy_sockets:NumpyBackend"


@pytest.fixture(scope="module")
def experiment_of_two(compose: Callable[..., DictConfig]) -> Iterator[Experiment]:
    """Two workers of NumPy, and a Ray on which they can run."""
    options = validate(
        compose(
            "framework=torch",
            "execution=eager",
            "model=mlp",
            "data=mnist5k",
            "device=cpu",
            "gpus=2",
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(numpy_sockets.__file__).parent))
        # A Ray of another test's command line is none of this one's.
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        with connect.disconnected_at_end():
            connect.connect(options)
            yield resolve(options, gpus_present=0)


@pytest.fixture
def group(experiment_of_two: Experiment, dataset: Dataset) -> Iterator[WorkerGroup]:
    one = WorkerGroup(experiment_of_two, ray.put(dataset.normalized()))
    yield one
    one.close()


def task(experiment: Experiment, **values: Any) -> Task:
    program = replace(experiment.program, local_batch=2)
    one = Task(NUMPY, experiment.spec, program, epochs=1, global_batch=4, seed=3)
    return replace(one, **values)


def of(kind: type, events: list[Event]) -> list[Any]:
    return sorted((event for event in events if isinstance(event, kind)), key=lambda e: e.rank)


def test_kept_workers_run_again_as_new_ones_and_end_with_their_group(
    experiment_of_two: Experiment, group: WorkerGroup, dataset: Dataset, tmp_path: Path
) -> None:
    runs = [
        list(group.run(task(experiment_of_two, seed=seed), tmp_path / str(number)))
        for number, seed in enumerate((3, 4, 3))
    ]
    assert group.runs == 3
    pids = [[event.pid for event in of(Started, events)] for events in runs]
    assert pids[0] == pids[1] == pids[2] and len(set(pids[0])) == 2
    digests = [[event.weights_sha256 for event in of(Finished, events)] for events in runs]
    assert digests[0] == digests[2] != digests[1]
    assert of(Ready, runs[0])[0].seconds["process_group"] > 0
    assert of(Ready, runs[2])[0].seconds["process_group"] == 0
    for number in range(3):
        names = {path.name for path in (tmp_path / str(number)).iterdir()}
        assert names == {"rank-0.log", "rank-1.log"}
    workers = [psutil.Process(pid) for pid in pids[0]]
    group.close(wait=True)
    assert psutil.wait_procs(workers, timeout=20)[1] == []


CALL_ALL = """
for port in sys.argv[1:]:
    with socket.create_connection(("127.0.0.1", int(port)), 60) as connection:
        try:
            print(port, len(connection.recv(1)))
        except ConnectionResetError:
            print(port, 0)
"""


def test_what_listens_is_on_loopback_and_hangs_up_on_another_user(
    experiment_of_two: Experiment, group: WorkerGroup, tmp_path: Path
) -> None:
    ports = set()
    for event in group.run(task(experiment_of_two, epochs=10), tmp_path):
        if isinstance(event, Ready) and not ports:
            for process in psutil.Process().children(recursive=True):
                for one in process.net_connections("tcp"):
                    if one.status == psutil.CONN_LISTEN:
                        assert one.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1", "::1"), process
                        ports.add(str(one.laddr.port))
    assert len(ports) >= 5  # of the store, the raylet, and each rank
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: root alone can be two users")
    heard = stranger.told(CALL_ALL, *sorted(ports)).splitlines()
    # Ranks end what they listened on with their process group; Ray's processes are still there.
    assert heard == [f"{port} 0" for port in sorted(ports)]


def test_a_worker_that_dies_is_named_with_its_log(
    experiment_of_two: Experiment, group: WorkerGroup, tmp_path: Path
) -> None:
    pids: dict[int, int] = {}
    with pytest.raises(WorkerError, match=r"worker 1 on \S+ died") as caught:
        for event in group.run(task(experiment_of_two, epochs=10_000), tmp_path):
            if isinstance(event, Started):
                pids[event.rank] = event.pid
            elif isinstance(event, Ready) and event.rank == 1:
                os.kill(pids[1], signal.SIGKILL)
    assert caught.value.log == str(tmp_path / "rank-1.log")


def test_a_rank_that_falls_silent_is_named_with_what_it_does(
    experiment_of_two: Experiment, dataset: Dataset, tmp_path: Path
) -> None:
    options = experiment_of_two.options
    impatient = replace(options, cluster=replace(options.cluster, silence_timeout_s=4.0))
    one = WorkerGroup(replace(experiment_of_two, options=impatient), ray.put(dataset.normalized()))
    workers: dict[int, psutil.Process] = {}
    notices = []
    with pytest.raises(StalledError) as caught:
        for event in one.run(task(experiment_of_two, epochs=10_000), tmp_path):
            if isinstance(event, Started):
                workers[event.rank] = psutil.Process(event.pid)
            elif isinstance(event, Notice):
                notices.append(event.text)
            elif isinstance(event, Ready) and event.rank == 1:
                workers[1].suspend()
    # Rank 0 is as silent, because it waits for rank 1: it isn't blamed.
    said = rf"worker 1 on {socket.gethostname()} has told nothing for \d s: stopped"
    assert re.fullmatch(said, str(caught.value))
    assert [re.fullmatch(f"{said}; after 4 s it counts as failed", text) for text in notices] != []
    assert caught.value.log == str(tmp_path / "rank-1.log") and caught.value.may_pass
    one.close()
    assert psutil.wait_procs(list(workers.values()), timeout=60)[1] == []


def test_a_rank_that_hangs_is_named_with_the_line_it_hangs_at(
    experiment_of_two: Experiment, dataset: Dataset, tmp_path: Path
) -> None:
    options = experiment_of_two.options
    impatient = replace(options, cluster=replace(options.cluster, silence_timeout_s=4.0))
    one = WorkerGroup(replace(experiment_of_two, options=impatient), ray.put(dataset.normalized()))
    hanging = replace(task(experiment_of_two), framework="hanging:HangingBackend", epochs=3)
    with pytest.raises(StalledError, match=r"^worker 1 on \S+ has told nothing for") as caught:
        list(one.run(hanging, tmp_path))
    assert re.search(r"running at hanging\.py:\d+ in train$", str(caught.value))
    one.close()


def test_a_users_mistake_in_a_worker_is_one_in_the_driver(
    experiment_of_two: Experiment, group: WorkerGroup, tmp_path: Path
) -> None:
    program = replace(experiment_of_two.program, local_batch=2, execution="graph")
    with pytest.raises(DistlabError, match="execution=graph"):
        list(group.run(task(experiment_of_two, program=program), tmp_path))


def test_a_loss_that_is_none_ends_the_run_with_its_place(
    experiment_of_two: Experiment, group: WorkerGroup, tmp_path: Path
) -> None:
    program = replace(experiment_of_two.program, local_batch=2, learning_rate=1e30)
    seen = []
    with pytest.raises(DivergedError) as caught:
        for event in group.run(task(experiment_of_two, program=program, epochs=50), tmp_path):
            seen.append(event)
    place = r"diverged at step \d of epoch 1 on rank [01]: loss (nan|inf)"
    assert re.fullmatch(place, caught.value.found)
    assert caught.value.fix == "learning_rate=0.001"
    # No epoch with such a loss gets any further.
    assert {type(event) for event in seen} == {Started, Ready}


def test_an_error_in_a_worker_is_told_in_its_words(
    experiment_of_two: Experiment, group: WorkerGroup, tmp_path: Path
) -> None:
    nonsense = task(experiment_of_two, program=None)
    with pytest.raises(WorkerError, match=r"worker \d on \S+ failed: AttributeError") as caught:
        list(group.run(nonsense, tmp_path))
    assert "Traceback" in Path(caught.value.log).read_text()


def test_a_start_that_takes_too_long_is_given_up(
    experiment_of_two: Experiment, dataset: Dataset, tmp_path: Path
) -> None:
    options = experiment_of_two.options
    hasty = replace(options, cluster=replace(options.cluster, start_timeout_s=0.01))
    one = WorkerGroup(replace(experiment_of_two, options=hasty), ray.put(dataset.normalized()))
    with pytest.raises(DistlabError, match=r"start_timeout_s=0\.01"):
        list(one.run(task(experiment_of_two), tmp_path))
    one.close()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"py_executable": "/nowhere/bin/python"}, "/nowhere/bin/python: No such file"),
        ({"py_executable": "/bin/false"}, "ends with code 1 before it runs anything"),
        ({"pip": ["no-such-package"], "nope": 1}, "knows no such field"),
        ({"working_dir": "/nowhere"}, "/nowhere is not a valid path"),
        ({"env_vars": {"A": 1}}, "must be of type"),
        ({"conda": "nowhere"}, "worker 0 on "),
    ],
)
def test_an_environment_that_cannot_be_is_refused_within_seconds(
    fields: dict[str, Any],
    found: str,
    experiment_of_two: Experiment,
    dataset: Dataset,
    tmp_path: Path,
) -> None:
    options = experiment_of_two.options
    other = replace(options, framework=replace(options.framework, runtime_env=fields))
    with pytest.raises(DistlabError) as caught:
        one = WorkerGroup(replace(experiment_of_two, options=other), ray.put([]))
        try:
            list(one.run(task(experiment_of_two), tmp_path))
        finally:
            one.close()
    assert found in caught.value.found and "runtime_env" in caught.value.asked
    assert not caught.value.may_pass and len(str(caught.value).splitlines()) <= 14


def test_workers_start_in_the_environment_that_is_named_and_tell_what_it_holds(
    experiment_of_two: Experiment,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    framework = experiment_of_two.options.framework
    one = Kept("mine", "torch", "0", sys.version.split()[0], ray.__version__, __version__, "")
    for command in borrowed.commands(one.path):
        subprocess.run(command, check=True)
    keep(one)
    named = replace(framework, environment="mine")
    options = replace(experiment_of_two.options, framework=named, gpus=1)
    asked = replace(experiment_of_two, options=options, world_size=1)
    group = WorkerGroup(asked, ray.put(dataset.normalized()))
    events = list(group.run(task(asked, global_batch=2), tmp_path))
    group.close()
    [ready] = of(Ready, events)
    assert ready.resources["python"] == str(one.interpreter)
    digest = hashlib.sha256(ready.packages.encode()).hexdigest()
    assert ready.resources["packages_sha256"] == digest
    assert f"ray=={ray.__version__}" in ready.packages.splitlines()
    # Ray would try one of another Python for ever.
    keep(replace(one, ray="1.0"))
    with pytest.raises(DistlabError, match="remove mine && ") as caught:
        WorkerGroup(asked, ray.put([]))
    assert "it has Ray 1.0" in caught.value.found


def test_room_is_waited_for_and_who_holds_it_is_told(
    experiment_of_two: Experiment,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.1)
    cpus = int(ray.cluster_resources()["CPU"])
    options = experiment_of_two.options
    cluster = replace(options.cluster, mode=ClusterMode.existing)
    # Groups of other tests that wait idle hold a little: all CPUs may never be free, one is.
    busy = placement_group([{"CPU": ray.available_resources()["CPU"]}])
    assert busy.wait(60)

    def events(start_timeout_s: float) -> Iterator[Event]:
        waits = replace(cluster, start_timeout_s=start_timeout_s)
        alone = replace(
            experiment_of_two, options=replace(options, cluster=waits, gpus=1), world_size=1
        )
        one = WorkerGroup(alone, ray.put(dataset.normalized()))
        try:
            yield from one.run(task(alone, global_batch=2), tmp_path)
        finally:
            one.close()

    with pytest.raises(DistlabError, match=r"start_timeout_s=0\.5") as caught:
        list(events(0.5))
    assert caught.value.may_pass
    needed = rf"1 CPUs are needed, 0(\.\d+)? of {cpus} free"
    assert re.search(needed, caught.value.found)
    assert "this command (process" in caught.value.found and " CPUs" in caught.value.found
    going = events(600)
    first = next(going)
    assert isinstance(first, Notice) and caught.value.found in first.text
    remove_placement_group(busy)
    assert len(of(Finished, list(going))) == 1


def test_a_port_that_was_taken_meanwhile_is_changed(
    experiment_of_two: Experiment, group: WorkerGroup, tmp_path: Path
) -> None:
    seats = ray.get(group._request.seats)
    with socket.create_server(("", int(seats[0].endpoint.split(":")[1]))):
        events = list(group.run(task(experiment_of_two), tmp_path))
    assert any("taken" in event.text for event in events if isinstance(event, Notice))
    assert len(of(Finished, events)) == 2


def test_a_worker_without_distlab_is_named_with_its_host(
    experiment_of_two: Experiment, group: WorkerGroup
) -> None:
    class Elsewhere:
        def __init__(self) -> None:
            raise ModuleNotFoundError("No module named 'distlab.cluster'")

        def address(self) -> None: ...

    actor: Any = ray.remote(Elsewhere).remote()
    request = replace(group._request, seats=[actor.address.remote()])
    with pytest.raises(DistlabError, match="distlab is not installed there") as caught:
        list(request.answered(time.monotonic() + 600, "log"))
    assert caught.value.asked == f"worker 0 on {socket.gethostname()} with distlab"


def test_a_rank_does_without_packages_that_ray_alone_would_import(
    experiment_of_two: Experiment,
) -> None:
    def imported(_: RankActor) -> list[str]:
        return [name for name in ("ray", "pyarrow", "pydantic", "starlette") if name in sys.modules]

    def importable(_: RankActor) -> bool:
        return bool(importlib.import_module("pyarrow"))

    remote: Any = ray.remote(RankActor)
    actor = remote.options(num_cpus=0).remote()
    assert ray.get(actor.address.remote(), timeout=60).node
    assert ray.get(actor.__ray_call__.remote(imported)) == ["ray"]
    assert ray.get(actor.__ray_call__.remote(importable))  # for a framework that needs it
    ray.kill(actor)


def test_a_head_that_answers_no_more_keeps_nobody_who_leaves(experiment_of_two: Experiment) -> None:
    """The last test here: it loses their Ray. Ray's library alone would wait for ever."""
    node: Any = ray._private.worker.global_worker.node
    (head,) = node.all_processes["gcs_server"]
    os.kill(head.process.pid, signal.SIGSTOP)
    leaving = threading.Thread(target=connect.leave_lost, daemon=True)
    leaving.start()
    leaving.join(60)
    if leaving.is_alive():
        os.kill(head.process.pid, signal.SIGCONT)
        pytest.fail("it waits for the head")

"""What surrounds a framework in a worker; here the environments are made up, and no Ray runs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import command
import pytest

from distlab.backends.base import Placement
from distlab.cluster import worker_environment
from distlab.cluster.worker_environment import WorkerEnvironment, ask_no_proxy, clean, foreign
from distlab.experiment.experiment import Experiment

BINDING = {
    "OMP_PROC_BIND": "true",
    "OMP_PLACES": "cores",
    "GOMP_CPU_AFFINITY": "0-1",
    "KMP_AFFINITY": "granularity=fine,compact,1,0",
    "KMP_BLOCKTIME": "0",
    "MKL_NUM_THREADS": "7",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_NUM_THREADS": "7",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "TF_NUM_INTRAOP_THREADS": "7",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    "FLAGS_check_nan_inf": "1",
    "TORCH_DISTRIBUTED_DEBUG": "DETAIL",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "CUDA_LAUNCH_BLOCKING": "1",
}
HARMLESS = {
    "PATH": "/usr/bin",
    "HOME": "/root",
    "COMPANY_NAME": "OMP_",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_CLI_CONFIG_FILE": "/etc/terraform.rc",
    "KMP_DUPLICATE_LIB_OK": "True",
    "TORCHINDUCTOR_CACHE_DIR": "/cache",
    "GLOO_SOCKET_IFNAME": "eth1",
    "LD_PRELOAD": "/usr/lib/libjemalloc.so",
    "http_proxy": "http://proxy:3128",
}


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of this process for the time of a test, as a plain dictionary."""
    environment: dict[str, str] = {}
    monkeypatch.setattr(worker_environment.os, "environ", environment)
    yield environment


def placement(*endpoints: str, rank: int = 0) -> Placement:
    return Placement(rank, len(endpoints), rank, "cpu", endpoints, threads=1)


def test_what_would_change_one_framework_is_kept_out_and_nothing_else() -> None:
    assert foreign({**BINDING, **HARMLESS}) == BINDING
    assert foreign({**BINDING, **HARMLESS}, asked=["OMP_PLACES"]).keys() == (
        BINDING.keys() - {"OMP_PLACES"}
    )


def test_ray_is_started_without_them_and_the_command_has_them_back() -> None:
    environment = {**BINDING, **HARMLESS}
    with pytest.raises(RuntimeError), clean(environment):
        assert environment == HARMLESS
        raise RuntimeError
    assert environment == {**BINDING, **HARMLESS}


def test_a_worker_has_what_was_asked_for_and_says_what_it_had(
    experiment: Callable[..., Experiment], process: dict[str, str]
) -> None:
    one = experiment(
        "gpus=2",
        "threads_per_worker=3",
        "+framework.env.KMP_BLOCKTIME=200",
        "framework.runtime_env={env_vars: {OMP_PLACES: cores}}",
    )
    process.update({**BINDING, **HARMLESS, "OMP_NUM_THREADS": "8"})
    facts = WorkerEnvironment.of(one).enter(placement("10.0.0.1:77", "10.0.0.2:77"))
    left = {name: process[name] for name in process if name in BINDING}
    assert left == {"KMP_BLOCKTIME": "200", "OMP_PLACES": "cores"}
    assert process["OMP_NUM_THREADS"] == "3" and process["CUDA_VISIBLE_DEVICES"] == ""
    # Ray sets OMP_NUM_THREADS by itself, and it is set anew: nobody is told.
    assert facts["kept_out"] == {name: value for name, value in BINDING.items() if name not in left}
    assert facts["inherited"] == {
        "LD_PRELOAD": "/usr/lib/libjemalloc.so",
        "GLOO_SOCKET_IFNAME": "eth1",
    }
    assert process["no_proxy"].split(",") == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("endpoints", "shell", "expected"),
    [
        (("127.0.0.1:1", "10.0.0.2:1"), {}, "lo"),
        (("127.0.0.1:1", "10.0.0.2:1"), {"GLOO_SOCKET_IFNAME": "eth7"}, "eth7"),
        (("127.0.0.1:1", "127.0.0.1:2"), {}, "lo"),
        (("10.0.0.2:1", "10.0.0.2:2"), {}, "lo"),  # no other machine has a part in it
        (("192.0.2.254:1", "10.0.0.2:1"), {}, None),  # an address that this machine hasn't
    ],
)
def test_gloo_takes_the_interface_of_the_address_or_on_one_host_that_of_loopback(
    endpoints: tuple[str, str],
    shell: dict[str, str],
    expected: str | None,
    process: dict[str, str],
) -> None:
    process.update(shell)
    WorkerEnvironment({}, frozenset(), 0).enter(placement(*endpoints))
    assert process.get("GLOO_SOCKET_IFNAME") == expected


@pytest.mark.parametrize(
    ("asked", "endpoints", "expected"),
    [
        ("ib0", ("10.0.0.1:1", "10.0.0.2:1"), {"GLOO": "ib0", "NCCL": "=ib0"}),
        ("ib0", ("10.0.0.1:1", "10.0.0.1:2"), {"GLOO": "ib0", "NCCL": "=ib0"}),
        # What nobody asked for leaves the environment's own; NCCL on one host needs none.
        (None, ("127.0.0.1:1", "10.0.0.2:1"), {"GLOO": "eth7", "NCCL": "eth7"}),
    ],
)
def test_an_interface_that_is_asked_for_is_gloos_and_nccls_whatever_the_environment_says(
    asked: str | None,
    endpoints: tuple[str, str],
    expected: dict[str, str],
    process: dict[str, str],
) -> None:
    process.update(GLOO_SOCKET_IFNAME="eth7", NCCL_SOCKET_IFNAME="eth7")
    facts = WorkerEnvironment({}, frozenset(), 0, interface=asked).enter(placement(*endpoints))
    assert {name: process[f"{name}_SOCKET_IFNAME"] for name in expected} == expected
    assert facts["interface"] == (asked or "lo")


def test_nccl_is_told_no_interface_on_one_host(process: dict[str, str]) -> None:
    WorkerEnvironment({}, frozenset(), 0).enter(placement("10.0.0.2:1", "10.0.0.2:2"))
    assert "NCCL_SOCKET_IFNAME" not in process


def test_the_command_tells_what_its_workers_do_not_have_as_it_stands_there(
    experiment: Callable[..., Experiment],
) -> None:
    one = experiment("threads_per_worker=3", "+framework.env.KMP_BLOCKTIME=200")
    found = {"OMP_PROC_BIND": "true", "KMP_BLOCKTIME": "0", "PATH": "/bin"}
    names = worker_environment.kept_out({**found, "OMP_NUM_THREADS": "8"}, one)
    assert names == ["OMP_NUM_THREADS", "OMP_PROC_BIND"]
    assert "OMP_NUM_THREADS, OMP_PROC_BIND" in worker_environment.told(names)
    assert worker_environment.kept_out({"OMP_NUM_THREADS": "3"}, one) == []


def test_no_proxy_is_asked_for_a_rank_and_what_a_user_excludes_stays_excluded() -> None:
    environment = {"no_proxy": "localhost, .corp", "no_grpc_proxy": "10.9.9.9", "http_proxy": "p"}
    ask_no_proxy(environment, ["10.0.0.1", "localhost"])
    assert environment["no_proxy"] == "localhost,.corp,10.9.9.9,10.0.0.1"
    assert environment["NO_PROXY"] == environment["no_grpc_proxy"] == environment["no_proxy"]
    ask_no_proxy(environment, ["10.0.0.1"])
    assert environment["no_proxy"] == "localhost,.corp,10.9.9.9,10.0.0.1"


NICE = """
import os, sys
from distlab.cluster.worker_environment import WorkerEnvironment
os.setpriority(os.PRIO_PROCESS, 0, 5)
if sys.argv[1] == "unprivileged":
    os.setuid(65534)
from distlab.backends.base import Placement
alone = Placement(0, 1, 0, "cpu", ("here:1",), 1)
WorkerEnvironment({}, frozenset(), int(sys.argv[2])).enter(alone)
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.parametrize(
    ("user", "asked", "found"),
    [("privileged", 0, 0), ("privileged", 9, 9), ("unprivileged", 9, 9), ("unprivileged", 0, 5)],
)
def test_a_worker_is_as_nice_as_the_command_if_it_may(user: str, asked: int, found: int) -> None:
    if os.geteuid() != 0 or not command.may_take_niceness_back():
        pytest.skip("niceness is given back to root alone")
    program = [sys.executable, "-c", NICE, user, str(asked)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.stdout == f"{found}\n", done.stderr


def test_the_workers_niceness_is_the_commands(experiment: Callable[..., Experiment]) -> None:
    assert WorkerEnvironment.of(experiment()).nice == os.getpriority(os.PRIO_PROCESS, 0)


PINNED = """
import os, sys
from distlab.backends.base import Placement
from distlab.cluster.worker_environment import WorkerEnvironment
from distlab.experiment.options import Pin
endpoints = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.2:2")
WorkerEnvironment({}, frozenset(), 0, Pin.cores).enter(
    Placement(int(sys.argv[1]), 3, int(sys.argv[2]), "cpu", endpoints, 1)
)
print(*sorted(os.sched_getaffinity(0)))
"""


def test_each_pinned_worker_of_a_host_has_cores_of_its_own() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one core is not enough for two workers")
    own = []
    for rank, local in ((0, 0), (1, 0), (2, 1)):
        program = [sys.executable, "-c", PINNED, str(rank), str(local)]
        done = subprocess.run(program, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        own.append({int(core) for core in done.stdout.split()})
    # Rank 0 is alone on its host; the others share theirs.
    assert own[0] == set(allowed)
    assert own[1] and own[2] and not own[1] & own[2] and len(own[1]) == len(own[2])


@pytest.fixture
def on_gpus(experiment: Callable[..., Experiment]) -> Callable[..., Experiment]:
    """An experiment on GPUs that this machine has not got."""

    def resolved(*overrides: str) -> Experiment:
        return replace(experiment("gpus=2", *overrides), device="gpu")

    return resolved


def entered(environment: WorkerEnvironment, rank: int, *granted: str) -> None:
    endpoints = ("127.0.0.1:1", "127.0.0.1:2")
    environment.enter(Placement(rank, 2, rank, "gpu", endpoints, threads=1), granted)


@pytest.mark.parametrize(
    ("visible", "found"),
    [(None, ["0", "1"]), ("5,3,1", ["5", "3"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"])],
)
def test_all_frameworks_of_a_command_have_the_same_gpus(
    on_gpus: Callable[..., Experiment],
    process: dict[str, str],
    visible: str | None,
    found: list[str],
) -> None:
    if visible:
        process["CUDA_VISIBLE_DEVICES"] = visible
    for framework in ("torch", "tf"):
        given = WorkerEnvironment.of(on_gpus(f"framework.name={framework}"))
        assert [*given.gpus] == found
    # Whatever Ray gave them, even if it was told to leave the variable alone.
    process.update(CUDA_VISIBLE_DEVICES="0,1,2,3")
    entered(given, 1, "7")
    assert process["CUDA_VISIBLE_DEVICES"] == found[1]
    assert process["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_on_a_cluster_a_worker_sees_the_gpu_that_ray_gave_it_and_no_other(
    on_gpus: Callable[..., Experiment], process: dict[str, str]
) -> None:
    given = WorkerEnvironment.of(on_gpus("cluster=existing"))
    process.update(CUDA_VISIBLE_DEVICES="0,1,2,3")
    entered(given, 1, "3")
    assert given.gpus == () and process["CUDA_VISIBLE_DEVICES"] == "3"


def test_variables_of_nccl_go_with_the_command_to_its_workers(
    on_gpus: Callable[..., Experiment], process: dict[str, str]
) -> None:
    process.update(NCCL_DEBUG="INFO", NCCL_SOCKET_IFNAME="eth0")
    given = WorkerEnvironment.of(on_gpus("framework.env.NCCL_SOCKET_IFNAME=eth1"))
    process.clear()  # of a Ray that was started elsewhere
    endpoints = ("127.0.0.1:1",)
    facts = given.enter(Placement(0, 1, 0, "gpu", endpoints, threads=1), ["0"])
    assert facts["inherited"] == {"NCCL_DEBUG": "INFO", "NCCL_SOCKET_IFNAME": "eth1"}


def test_cuda_keeps_what_it_compiles_for_workers_on_gpus(
    on_gpus: Callable[..., Experiment],
    experiment: Callable[..., Experiment],
    process: dict[str, str],
) -> None:
    name = "CUDA_CACHE_MAXSIZE"
    assert WorkerEnvironment.of(on_gpus()).variables[name] == "4294967296"
    assert name not in WorkerEnvironment.of(experiment("device=cpu")).variables
    process[name] = "7"
    assert WorkerEnvironment.of(on_gpus()).variables[name] == "7"
    asked = on_gpus(f"framework.env.{name}=9")
    assert WorkerEnvironment.of(asked).variables[name] == "9"

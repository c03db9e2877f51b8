"""What surrounds a framework in the process of a rank: variables, niceness, proxies.

Workers inherit the environment of whoever started Ray: a user's shell or, on a cluster, an
administrator's. What stands there of threads, cores and instructions would reach one framework
and not the other, or all ranks of a machine alike: with ``OMP_PROC_BIND=true`` each binds itself to
core 0. So it is kept out, and the user is told; what is meant stands in ``framework.env``, which is
part of the record.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from distlab.backends.base import Placement
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode, FrameworkOptions, Pin, Precision
from distlab.machine import guard
from distlab.machine.cores import shares
from distlab.machine.network import LOOPBACK, interface

KEPT_OUT = (
    # OpenMP of GNU, LLVM and Intel, and libraries of linear algebra: threads, cores, instructions.
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "GOTO_*", "BLIS_*", "ONEDNN_*", "DNNL_*"),
    # What one framework alone reads of how it computes.
    *("ATEN_*", "PYTORCH_*", "TORCHDYNAMO_*", "TORCHINDUCTOR_*", "TORCH_COMPILE_*"),
    *("TORCH_ALLOW_*", "TORCH_DISTRIBUTED_*", "XLA_*", "FLAGS_*", "PADDLE_*"),
    # TensorFlow's by name: TF_VAR_*, TF_CLI_* and others are Terraform's.
    *("TF_CONFIG", "TF_CUDNN_*", "TF_DETERMINISTIC_*", "TF_DISABLE_*", "TF_ENABLE_*"),
    *("TF_FORCE_*", "TF_GPU_*", "TF_MLIR_*", "TF_NUM_*", "TF_OVERRIDE_*", "TF_USE_*", "TF_XLA_*"),
    *("CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE"),
    # A launcher around the command: torch would wait for a store that this one doesn't keep.
    "TORCHELASTIC_*",
)
"""Patterns of variables that do not reach workers from the environment that Ray was started in."""
LET_IN = ("KMP_DUPLICATE_LIB_OK", "TORCHINDUCTOR_CACHE_DIR")
"""Of these, what changes no figure. threadpoolctl itself sets the first one."""
RECORDED = ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_*", "NCCL_*", "GLOO_*")
"""What reaches workers and may change figures: a system may not work without it."""
KERNELS, KERNELS_BYTES = "CUDA_CACHE_MAXSIZE", "4294967296"
"""How much CUDA keeps of the kernels that it compiles at first use, as TensorFlow's on a GPU newer
than itself: the most that it allows, for by default it is 1 GiB, and what is dropped is compiled at
each start (CUDA C++ Programming Guide, "CUDA Environment Variables"). Not yet run on a GPU."""
NO_PROXY = ("no_proxy", "NO_PROXY", "no_grpc_proxy")
"""Where libraries look for hosts that no proxy is asked for; gRPC looks at its own first."""


@dataclass(frozen=True)
class WorkerEnvironment:
    """What the process of a rank is given before it imports its framework.

    Attributes
    ----------
    variables:
        Environment variables to be set.
    asked:
        Variables that the user gave to workers on purpose.
    nice:
        The niceness of the command, which its workers share.
    pin:
        What each worker has for itself.
    gpus:
        The GPUs of the workers of this machine, by their rank on it, where distlab deals them out
        itself; empty where Ray does.
    interface:
        The network interface that was asked for, which has the addresses of the placement.
    """

    variables: Mapping[str, str]
    asked: frozenset[str]
    nice: int
    pin: Pin | None = None
    gpus: tuple[str, ...] = ()
    interface: str | None = None

    @classmethod
    def of(cls, experiment: Experiment) -> "WorkerEnvironment":
        """The environment of an experiment's workers."""
        options = experiment.options
        on_gpu, local = experiment.device == "gpu", options.cluster.mode is ClusterMode.local
        variables = {
            **tf32(options.precision),
            # As mpirun and torchrun do; a Ray that was started elsewhere has not got them.
            **(_matching(os.environ, ("NCCL_*",)) if on_gpu else {}),
            **({KERNELS: os.environ.get(KERNELS, KERNELS_BYTES)} if on_gpu else {}),
            **{name: str(value) for name, value in options.framework.env.items()},
            "OMP_NUM_THREADS": str(options.threads_per_worker),
            # On a machine with GPUs a CPU worker must not see, let alone occupy, one of them.
            **({} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""}),
        }
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        interface = options.network.interface
        most = max(experiment.world_size, *experiment.sizes, 1)
        gpus = here(most) if on_gpu and local else ()
        return cls(variables, asked(options.framework), nice, options.pin, gpus, interface)

    def enter(self, placement: Placement, granted: Sequence[str] = ()) -> dict[str, Any]:
        """Set up the calling process and thread, before the framework is imported.

        Threads that are made later inherit its niceness and its cores.

        Parameters
        ----------
        placement:
            Where the rank stands.
        granted:
            The GPUs that Ray gave to the process.

        Returns
        -------
        dict
            Plain data for the record: ``kept_out``, variables that stood in the environment and
            were removed; ``inherited``, those of :data:`RECORDED` that stay; ``interface``, the
            network interface over which other ranks reach it.
        """
        removed = foreign(os.environ, self.asked)
        for name in removed:
            del os.environ[name]
        guard.forget(os.environ)
        os.environ.update(self.variables)
        if placement.device == "gpu":
            own = self.gpus[placement.local_rank] if self.gpus else ",".join(granted)
            # Whatever Ray was told to leave alone: RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES.
            # Numbers are those of nvidia-smi then, as Ray and NVML count.
            os.environ.update(CUDA_VISIBLE_DEVICES=own, CUDA_DEVICE_ORDER="PCI_BUS_ID")
        inherited = _matching(os.environ, RECORDED)
        ask_no_proxy(os.environ, placement.hosts)
        own = placement.hosts[placement.rank]
        reached = own if self.interface or len(set(placement.hosts)) > 1 else LOOPBACK
        device = self.interface or interface(reached)
        if device is not None:
            meet_over(os.environ, device, on_purpose=self.interface is not None)
        # A user without privileges may not take niceness back; then the record tells the other one.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, self.nice)
        if self.pin is Pin.cores:
            here = placement.hosts.count(own)
            cores = shares(os.sched_getaffinity(0), here, placement.threads)
            os.sched_setaffinity(0, cores[placement.local_rank])
        return {
            "interface": device,
            # Ray itself sets some of these, and they are set anew.
            "kept_out": {
                name: value for name, value in removed.items() if name not in self.variables
            },
            "inherited": inherited,
        }


def here(workers: int) -> tuple[str, ...]:
    """The first GPUs of this machine that a command may use, one for each worker.

    All frameworks of a command have the same ones so, one after the other: workers that wait
    between two of their runs keep no GPU from those that run.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = [one.strip() for one in named.split(",") if one.strip()] if named else []
    return tuple((known or [str(index) for index in range(workers)])[:workers])


def asked(framework: FrameworkOptions) -> frozenset[str]:
    """Variables that a user gives to workers on purpose: in ``env`` or Ray's ``runtime_env``."""
    runtime_env = framework.runtime_env if isinstance(framework.runtime_env, Mapping) else {}
    return frozenset({*framework.env, *(runtime_env.get("env_vars") or {})})


def foreign(environment: Mapping[str, str], asked: Iterable[str] = ()) -> dict[str, str]:
    """Variables of an environment that are kept from workers, unless they are asked for."""
    found = _matching(environment, KEPT_OUT)
    let_in = {*asked, *_matching(found, LET_IN)}
    return {name: value for name, value in found.items() if name not in let_in}


def kept_out(environment: Mapping[str, str], experiment: Experiment) -> list[str]:
    """Names of what an environment holds that the experiment's workers have not, or otherwise."""
    given = WorkerEnvironment.of(experiment)
    found = foreign(environment, given.asked)
    return sorted(name for name, value in found.items() if given.variables.get(name) != value)


def told(names: Iterable[str]) -> str:
    """One line on what was kept from workers."""
    return (
        f"kept from workers: {', '.join(sorted(names))} of the environment "
        "(what they shall have goes into framework.env)"
    )


@contextlib.contextmanager
def clean(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Take out of an environment, for the time of the block, what is kept from workers.

    A Ray that is started in it hands the rest to workers from the birth of their processes on: some
    libraries read the environment before any Python does, if ``LD_PRELOAD`` loads them.
    """
    removed = foreign(environment)
    for name in removed:
        del environment[name]
    try:
        yield
    finally:
        environment.update(removed)


def meet_over(environment: MutableMapping[str, str], device: str, on_purpose: bool) -> None:
    """Have gloo and NCCL meet over a network interface.

    gloo would take what this host's name leads to, be it 127.0.1.1 or open to others; NCCL, the
    first that is neither loopback nor Docker's (NVIDIA's documentation of NCCL,
    "NCCL_SOCKET_IFNAME": ``=`` is for the exact name). Not yet run on a GPU.

    Parameters
    ----------
    environment:
        What they read.
    device:
        The interface.
    on_purpose:
        Whether it was asked for; else what stands in the environment stays.
    """
    named = {"GLOO_SOCKET_IFNAME": device}
    if device != interface(LOOPBACK):
        named["NCCL_SOCKET_IFNAME"] = f"={device}"
    environment.update(
        {name: value for name, value in named.items() if on_purpose or name not in environment}
    )


def ask_no_proxy(environment: MutableMapping[str, str], hosts: Iterable[str]) -> None:
    """Add hosts to those that are reached directly, whatever proxies the environment names.

    TensorFlow's gRPC would ask the proxy of ``http_proxy`` for the endpoints of other ranks.
    """
    named = [entry for name in NO_PROXY for entry in environment.get(name, "").split(",")]
    value = ",".join(dict.fromkeys(filter(None, (*map(str.strip, named), *hosts))))
    environment.update(dict.fromkeys(NO_PROXY, value))


def tf32(precision: Precision) -> dict[str, str]:
    """What forbids TF32 in NVIDIA's libraries, whatever a framework says; nothing for ``tf32``.

    cuBLAS and cuDNN read ``NVIDIA_TF32_OVERRIDE`` once in the life of a process (NVIDIA's
    documentation of cuBLAS, "NVIDIA_TF32_OVERRIDE"). Not yet run on a GPU.
    """
    return {} if precision is Precision.tf32 else {"NVIDIA_TF32_OVERRIDE": "0"}


def _matching(environment: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    patterns = tuple(patterns)
    return {
        name: value
        for name, value in environment.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }

"""Steps for CPUs, compiled ahead of time to shared libraries.

A process that runs torch's compiler keeps some 150 MiB of it, and takes seconds to load it even
where all is compiled already. So the first worker that needs a library has a child process compile
it; every worker, of this run and of later ones, loads it from the cache: in the folder that
``TORCHINDUCTOR_CACHE_DIR`` names, or the user's cache folder.
"""

import ctypes
import hashlib
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from distlab.backends import processor, torch_model, torch_products, torch_step
from distlab.backends.torch_step import Steps
from distlab.errors import DistlabError
from distlab.models import rewrite

ASKED = "execution=graph with framework=torch device=cpu"
SOURCES = [
    Path(str(module.__file__))
    for module in (processor, rewrite, torch_model, torch_products, torch_step)
] + [Path(__file__), Path(__file__).with_name("torch_product_pass.py")]
"""What decides how steps are compiled; the last is not imported, because it loads the compiler."""

Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]
"""A tensor's shape, strides and type: what a library is compiled for, and does not check."""


def load(
    steps: Steps, calls: Mapping[str, Sequence[Tensor]]
) -> dict[str, Callable[..., list[Tensor]]]:
    """Functions of ``steps``, compiled.

    Parameters
    ----------
    steps:
        What has the functions as methods.
    calls:
        For each method that is wanted, tensors such as it will be called with. The library is for
        their shapes, strides and types, and must not be called with others.

    Returns
    -------
    dict
        By the method's name, what takes such tensors and returns the method's results as a list.

    Raises
    ------
    distlab.errors.DistlabError
        If it cannot be compiled.
    """
    layouts = {
        name: [(tuple(t.shape), t.stride(), t.dtype) for t in tensors]
        for name, tensors in calls.items()
    }
    folder = cache_folder() / _key(steps, layouts)
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not folder.exists():
                    _compile_in_a_child(steps, layouts, folder)
    except OSError as error:
        raise DistlabError(
            ASKED,
            f"no compiled steps can be kept in {folder.parent}: {error}",
            "name a folder: TORCHINDUCTOR_CACHE_DIR=...\nor execution=eager",
        ) from error
    try:
        return {name: _loaded(folder / name / "steps.so") for name in calls}
    except RuntimeError as error:
        raise DistlabError(
            ASKED,
            f"the compiled steps in {folder} cannot be loaded: {str(error).splitlines()[0]}",
            f"delete the folder: rm -r {folder}\nor execution=eager",
        ) from error


def cache_folder() -> Path:
    """Where compiled steps are kept."""
    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    return Path(named or os.path.expanduser("~/.cache")) / "distlab" / "torch"  # noqa: PTH111


@lru_cache(maxsize=8)
def _loaded(library: Path) -> Callable[..., list[Tensor]]:
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1)

    def run(*tensors: Tensor) -> list[Tensor]:
        results: list[Tensor] = runner.run(list(tensors))
        return results

    return run


def _key(steps: Steps, layouts: Mapping[str, Sequence[Layout]]) -> str:
    """A name for all that the libraries depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    instructions = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    compiler_settings = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name == "ATEN_CPU_CAPABILITY"
        or (name.startswith(("TORCHINDUCTOR_", "AOT_INDUCTOR_")) and "CACHE" not in name)
    )
    machine = platform.machine(), platform.libc_ver(), instructions, torch.get_num_threads()
    how = torch.__version__, torch_products.onednn_is_faster(), compiler_settings
    sources = [file.read_text() for file in SOURCES]
    return hashlib.sha256(repr((machine, how, steps, layouts, sources)).encode()).hexdigest()[:32]


def _compile_in_a_child(
    steps: Steps, layouts: Mapping[str, Sequence[Layout]], folder: Path
) -> None:
    """Fill the folder; it appears when all is in it."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise DistlabError(
            ASKED,
            f"torch needs a C++ compiler to compile for a CPU, and there is no {compiler}",
            "install g++ (apt-get install g++)\nor execution=eager",
        )
    for left in folder.parent.glob(f"{folder.name}-*"):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as part:
        filled = Path(part) / "filled"  # a folder that other users may read, unlike part
        filled.mkdir()
        order = pickle.dumps((filled, steps, layouts, torch.get_num_threads()))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "distlab.backends.torch_ahead"]
        child = subprocess.run(
            command, input=order, capture_output=True, check=False, env=environment
        )
        if child.returncode:
            last = child.stderr.decode(errors="replace").strip().splitlines()[-5:]
            ended = [f"the compiler's process ended with code {child.returncode}"]
            raise DistlabError(
                ASKED,
                f"torch {torch.__version__} could not compile the steps:\n"
                + "\n".join(last or ended),
                "execution=eager",
            )
        try:
            filled.rename(folder)
        except OSError:
            if not folder.exists():  # else another node with this file system was first
                raise


def _compile(
    folder: Path, steps: Steps, layouts: Mapping[str, Sequence[Layout]], threads: int
) -> None:
    """In the child: a library for each function, in a folder of its name."""
    from torch._inductor import aot_compile
    from torch.fx.experimental.proxy_tensor import make_fx

    torch.set_num_threads(threads)
    options: dict[str, Any] = {}
    if torch_products.onednn_is_faster():
        from distlab.backends.torch_product_pass import LargeProductsByOneDnn

        options["post_grad_custom_post_pass"] = LargeProductsByOneDnn()
    for name, tensors in layouts.items():
        function = getattr(steps, name)

        def results(*tensors: Tensor, function: Callable[..., Any] = function) -> tuple[Any, ...]:
            found = function(*tensors)
            return () if found is None else found if isinstance(found, tuple) else (found,)

        examples = tuple(torch.empty_strided(*part[:2], dtype=part[2]) for part in tensors)
        library = folder / name / "steps.so"
        library.parent.mkdir()
        with torch.no_grad():
            traced = make_fx(results, tracing_mode="fake")(*examples)
            output = {"aot_inductor.output_path": str(library)}
            aot_compile(traced, examples, options={**options, **output})
        # What the library calls of torch's operators, where the loader looks for it.
        for calls in library.parent.glob("*.wrapper.json"):
            shutil.copy(calls, library.with_suffix(".json"))


if __name__ == "__main__":
    if sys.platform == "linux":  # a worker that is killed takes its compiler along
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of prctl(2)
    to, *what = pickle.load(sys.stdin.buffer)
    _compile(to, *what)

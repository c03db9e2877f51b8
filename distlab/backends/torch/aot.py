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
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock
from torch import Tensor

from distlab.backends.common import private_folder, processor
from distlab.backends.torch import model, onednn, step
from distlab.backends.torch.layers import functions
from distlab.backends.torch.optimizers import rules
from distlab.backends.torch.step import Function
from distlab.errors import DistlabError
from distlab.models import layers, rewrite

ASKED = "execution=graph with framework=torch device=cpu"
SOURCES = [
    *(Path(str(module.__file__)) for module in (processor, rewrite, model, functions, rules, step)),
    *sorted(Path(str(layers.__file__)).parent.glob("*.py")),
    *sorted(Path(__file__).with_name("onednn").glob("*.py")),
    Path(__file__),
]
"""What decides how steps are compiled; not all is imported, because some loads the compiler."""

SECONDS = "compile_s"
"""The file beside a library that tells how many seconds compiling took."""

ANY_LENGTH = 1000
"""With which length is compiled what then takes any."""

Layout = tuple[tuple[int | None, ...], tuple[int, ...], torch.dtype]
"""A tensor's shape, strides and type: what a library is compiled for, and does not check.

None stands for any length from 2 on.
"""


@dataclass(frozen=True)
class Order:
    """A library: a function, compiled for tensors of these layouts."""

    function: Function
    layouts: tuple[Layout, ...]


class Loaded(NamedTuple):
    """Compiled functions by name, and how they came to be.

    Attributes
    ----------
    functions:
        Each takes tensors such as it was compiled for, and returns the results as a list.
    from_cache:
        Whether all had been compiled before.
    cold_s:
        Seconds that compiling them took, then or now; None where that wasn't written down.
    """

    functions: dict[str, Callable[..., list[Tensor]]]
    from_cache: bool
    cold_s: float | None


def load(calls: Mapping[str, tuple[Function, Sequence[Tensor]]]) -> Loaded:
    """Functions, compiled.

    Parameters
    ----------
    calls:
        By any name, a function and tensors such as it will be called with. The library is for their
        shapes, strides and types, and must not be called with others, but for the lengths of those
        at ``function.any_length``.

    Raises
    ------
    distlab.errors.DistlabError
        If one cannot be compiled, or others than the user and root may have put it there.
    """
    here = _here()
    orders = {name: _order(*call) for name, call in calls.items()}
    folders = {name: cache_folder() / _key(order, here) for name, order in orders.items()}
    from_cache = all(folder.exists() for folder in folders.values())
    try:
        _fill({folders[name]: order for name, order in orders.items()})
    except OSError as error:
        raise DistlabError(
            ASKED,
            f"no compiled steps can be kept in {cache_folder()}: {error}",
            "name a folder: TORCHINDUCTOR_CACHE_DIR=...\nor execution=eager",
        ) from error
    for folder in set(folders.values()):
        _check_own(folder)
    functions = {name: _loaded(folder / "steps.so") for name, folder in folders.items()}
    return Loaded(functions, from_cache, _cold_seconds(set(folders.values())))


def _cold_seconds(folders: Iterable[Path]) -> float | None:
    """What compiling took: that of the longest, since one child compiles what is missing."""
    told = []
    for folder in folders:
        with suppress(OSError, ValueError):
            told.append(float((folder / SECONDS).read_text()))
    return max(told, default=None)


def cache_folder() -> Path:
    """Where compiled steps are kept."""
    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    return Path(named or os.path.expanduser("~/.cache")) / "distlab" / "torch"  # noqa: PTH111


def _check_own(folder: Path) -> None:
    """Refuse a library that somebody else may have put there: loading it runs its code."""
    why = private_folder.stranger(folder, cache_folder())
    if why is not None:
        own = shlex.quote(str(cache_folder()))
        raise DistlabError(
            ASKED,
            f"the compiled steps are kept where others may have put theirs: {why}",
            f"if all in it is yours: chmod -R go-w {own}\n"
            "else name a folder of your own: TORCHINDUCTOR_CACHE_DIR=...\nor execution=eager",
        )


@lru_cache(maxsize=8)
def _loaded(library: Path) -> Callable[..., list[Tensor]]:
    try:
        runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1)
    except RuntimeError as error:
        folder, why = library.parent, str(error).splitlines()[0]
        raise DistlabError(
            ASKED,
            f"the compiled steps in {folder} cannot be loaded: {why}",
            f"delete the folder: rm -r {folder}\nor execution=eager",
        ) from error

    def run(*tensors: Tensor) -> list[Tensor]:
        results: list[Tensor] = runner.run(list(tensors))
        return results

    return run


def _order(function: Function, tensors: Sequence[Tensor]) -> Order:
    def layout(place: int, tensor: Tensor) -> Layout:
        any_length = place in function.any_length and tensor.shape[0] > 1
        shape = (None, *tensor.shape[1:]) if any_length else tuple(tensor.shape)
        return shape, tensor.stride(), tensor.dtype

    return Order(function, tuple(layout(place, tensor) for place, tensor in enumerate(tensors)))


def _here() -> str:
    """All that libraries depend on beside their orders."""
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
    how = torch.__version__, onednn.onednn_is_faster(), compiler_settings
    return repr((machine, how, [file.read_text() for file in SOURCES]))


def _key(order: Order, here: str) -> str:
    """A name for all that the library depends on."""
    return hashlib.sha256((here + repr(order)).encode()).hexdigest()[:32]


def _fill(orders: Mapping[Path, Order]) -> None:
    """Have a child compile what is not there; nobody else compiles it meanwhile."""
    missing = sorted(folder for folder in orders if not folder.exists())
    with ExitStack() as locks:
        for folder in missing:  # everywhere in the same order, so that nobody waits in a circle
            private_folder.make(folder.parent)
            locks.enter_context(FileLock(folder.with_suffix(".lock")))
        missing = [folder for folder in missing if not folder.exists()]
        if missing:
            _compile_in_a_child({folder: orders[folder] for folder in missing})


def _compile_in_a_child(orders: Mapping[Path, Order]) -> None:
    """Fill the folders; each appears when all is in it."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise DistlabError(
            ASKED,
            f"torch needs a C++ compiler to compile for a CPU, and there is no {compiler}",
            "install g++ (apt-get install g++)\nor execution=eager",
        )
    with ExitStack() as parts:
        filled = {}
        for folder in orders:
            for left in folder.parent.glob(f"{folder.name}-*"):  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
            part = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-")
            # A folder that other users may read, unlike the one it is in.
            filled[folder] = Path(parts.enter_context(part)) / "filled"
            filled[folder].mkdir(mode=0o755)
        # torch loads what it finds in its cache, too, which by itself is /tmp/torchinductor_USER,
        # whoever made that.
        own = cache_folder() / "inductor"
        private_folder.make(own)
        _check_own(own)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TORCHINDUCTOR_CACHE_DIR": str(own),
        }
        made = dict(filled)
        if not all(map(_is_plain, (*filled.values(), tempfile.gettempdir(), own))):
            # torch gives the compiler such paths as they are, which a space in them breaks.
            workshop = parts.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
            environment |= {"TMPDIR": workshop, "TORCHINDUCTOR_CACHE_DIR": f"{workshop}/torch"}
            made = {folder: Path(workshop) / folder.name for folder in orders}
            for folder in made.values():
                folder.mkdir()
        told = {made[folder]: order for folder, order in orders.items()}
        start = time.perf_counter()
        child = subprocess.run(
            [sys.executable, "-m", "distlab.backends.torch.aot"],
            input=pickle.dumps((told, torch.get_num_threads())),
            capture_output=True,
            check=False,
            env=environment,
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
        for folder, full in filled.items():
            if made[folder] != full:
                shutil.copytree(made[folder], full, dirs_exist_ok=True)
            (full / SECONDS).write_text(f"{time.perf_counter() - start:.2f}\n")
            try:
                full.rename(folder)
            except OSError:
                if not folder.exists():  # else another node with this file system was first
                    raise


def _is_plain(path: object) -> bool:
    """Whether a shell and a compiler take a path as it is."""
    return str(path).isascii() and shlex.quote(str(path)) == str(path)


def _compile(orders: Mapping[Path, Order], threads: int) -> None:
    """In the child: each library in its folder."""
    from torch._inductor import aot_compile
    from torch.fx.experimental.proxy_tensor import make_fx

    torch.set_num_threads(threads)
    # torch keeps them in /tmp/torchinductor_USER, whatever its cache is told to be: 280 MB, whose
    # making takes 8 s and saves each run 1 s.
    options: dict[str, Any] = {"aot_inductor.precompile_headers": False}
    if onednn.onednn_is_faster():
        from distlab.backends.torch.onednn.graph_pass import LargeProductsByOneDnn

        options["post_grad_custom_post_pass"] = LargeProductsByOneDnn()
    for folder, order in orders.items():

        def results(*tensors: Tensor, function: Function = order.function) -> tuple[Any, ...]:
            found: Any = function(*tensors)
            return () if found is None else found if isinstance(found, tuple) else (found,)

        examples = _examples(order.layouts)
        with torch.no_grad():
            traced = make_fx(results, tracing_mode="fake")(*examples)
            output = {"aot_inductor.output_path": str(folder / "steps.so")}
            aot_compile(traced, examples, options={**options, **output})
        # What the library calls of torch's operators, where the loader looks for it.
        for called in folder.glob("*.wrapper.json"):
            shutil.copy(called, folder / "steps.json")


def _examples(layouts: Sequence[Layout]) -> tuple[Tensor, ...]:
    """Tensors of these layouts without data, with a symbol for each length that may be any."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import (
        DimDynamic,
        ShapeEnv,
        StatelessSymbolicContext,
    )

    mode = FakeTensorMode(shape_env=ShapeEnv())

    def example(shape: tuple[int | None, ...], strides: tuple[int, ...], dtype: torch.dtype) -> Any:
        sizes = [ANY_LENGTH if size is None else size for size in shape]
        kinds = [DimDynamic.DYNAMIC if size is None else DimDynamic.STATIC for size in shape]
        return mode.from_tensor(
            torch.empty_strided(sizes, strides, dtype=dtype),
            symbolic_context=StatelessSymbolicContext(dynamic_sizes=kinds),
        )

    return tuple(example(*layout) for layout in layouts)


if __name__ == "__main__":
    if sys.platform == "linux":  # a worker that is killed takes its compiler along
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of prctl(2)
    os.umask(0o022)  # what others may write to is not loaded
    _compile(*pickle.load(sys.stdin.buffer))

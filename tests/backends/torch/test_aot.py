"""Steps compiled ahead of time: kept, found again, and told what is wrong where they can't be.

This file runs itself in child processes: frameworks must not meet in the tests' process.
"""

import json
import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fresh_process
import numpy as np
import pytest

from distlab.backends.base import OptimizerState, Placement, Program
from distlab.models.layers import Dense, Flatten, ReLU
from distlab.models.spec import ModelSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("torch") is None, reason='PyTorch is not installed: pip install "distlab[torch]"'
    ),
]
child = partial(fresh_process.found, __file__, TORCHINDUCTOR_CACHE_DIR=None)
"""What one of the functions below finds in a process of its own."""

SPEC = ModelSpec(
    "small", (Flatten(), Dense("one", 6, 5), ReLU(), Dense("two", 5, 4)), input_shape=(1, 2, 3)
)
PROGRAM = Program(3, execution="graph")
ORDER = np.arange(12, dtype=np.int32).reshape(4, 3)


def trained(samples: int) -> Any:
    """A backend that has taken four steps on the first of 40 samples, and its losses."""
    from distlab.backends.torch.backend import TorchBackend

    random = np.random.default_rng(1)
    everything = random.random((40, 1, 2, 3), np.float32), random.integers(0, 4, 40)
    data = everything[0][:samples], everything[1][:samples]
    weights = {n: random.random(s).astype(np.float32) for n, s in SPEC.parameters.items()}
    backend = TorchBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    backend.build(SPEC, PROGRAM)
    backend.load_data(data, data)
    backend.set_weights(weights)
    backend.set_optimizer_state(OptimizerState.zero(SPEC))
    return backend, backend.train(ORDER).tolist()


def once(samples: str) -> dict[str, Any]:
    """In a child: losses, the libraries in the cache, and what was loaded to run them."""
    from distlab.backends.torch.aot import cache_folder

    backend, losses = trained(int(samples))
    described = backend.describe()
    folder = cache_folder()
    compiler = {"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)
    names = sorted(library.parent.name for library in folder.glob("*/steps.so"))
    return {
        "losses": losses,
        "libraries": names,
        "compiler": sorted(compiler),
        "from_cache": described["compiled_from_cache"],
        "cold_s": described["cold_compile_s"],
    }


def indices() -> list[list[float]]:
    """In a child: losses of the same steps, whose indices lie in memory in several ways."""
    backend, losses = trained(12)
    found = [losses]
    wide = np.zeros((4, 9), np.int32)
    wide[:, ::3] = ORDER
    weights = {n: np.full(s, 0.1, np.float32) for n, s in SPEC.parameters.items()}
    for optimizer in ("reference", "stock"):
        backend.build(SPEC, replace(PROGRAM, optimizer=optimizer))
        for order in (ORDER, wide[:, ::3], ORDER.astype(np.int64)):
            backend.set_weights(weights)
            backend.set_optimizer_state(OptimizerState.zero(SPEC))
            found.append(backend.train(order).tolist())
    return found


def keys() -> dict[str, list[str]]:
    """In a child: names of libraries by what differs, the first of each list as it was."""
    import torch

    from distlab.backends.torch import aot, onednn
    from distlab.backends.torch.graph import Graph

    def named(world_size: int = 2, samples: int = 12, **changes: Any) -> dict[str, str]:
        program = replace(PROGRAM, **changes)
        graph = Graph(SPEC, program, torch.device("cpu"), world_size)
        images, labels = torch.zeros(samples, 1, 2, 3), torch.zeros(samples, dtype=torch.int64)
        calls, here = graph._calls(images, labels), aot._here()
        return {name: aot._key(aot._order(*calls[name]), here) for name in calls}

    found: dict[str, list[str]] = {"gradient": [], "optimizer": [], "steps": []}

    def note(**changes: Any) -> None:
        for name, key in {**named(**changes), **named(1, **changes)}.items():
            found[name].append(key)

    note()
    for changes in (
        {"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.5, "epsilon": 1.0, "exchange": False},
        {"samples": 13},
        {"local_batch": 4},
        {"precision": "bf16"},
    ):
        note(**changes)
    os.environ["TORCHINDUCTOR_CPP_ENABLE_UNSAFE_MATH_OPT_FLAG"] = "1"
    note()
    os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
    note()
    here = onednn.onednn_is_faster()
    onednn.onednn_is_faster = lambda: not here
    note()
    torch.set_num_threads(torch.get_num_threads() + 1)
    note()
    aot.SOURCES.append(Path(__file__))
    note()
    return found


def refused() -> list[str]:
    """In a child: what is said instead of compiling."""
    from distlab.errors import DistlabError

    try:
        trained(12)
    except DistlabError as error:
        return [error.asked, error.found, error.fix]
    return []


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache of distlab's own, so that torch's, of what its compiler can do, serves on.

    Its path, and that of temporary files, are such as torch's compiler would not understand: it
    puts them into a command as they are.
    """
    odd = tmp_path_factory.mktemp("cache") / "caf\u00e9 d'ici"
    odd.mkdir()
    return str(odd)


def test_a_library_is_compiled_once_and_without_a_compiler_in_the_process(cache: str) -> None:
    first = child("once", "12", XDG_CACHE_HOME=cache, TMPDIR=cache)
    assert len(first["libraries"]) == 1
    # Without a compiler it can only be found; also for more samples, of which the same are taken.
    for samples in ("12", "40"):
        again = child("once", samples, XDG_CACHE_HOME=cache, CXX="no-such-compiler")
        # What it took when it was compiled is still known.
        assert again == {**first, "from_cache": True}
    assert first["from_cache"] is False and first["cold_s"] > 0
    assert first["compiler"] == []


def test_a_library_that_others_may_have_written_is_not_loaded(cache: str) -> None:
    child("once", "12", XDG_CACHE_HOME=cache)
    (library,) = Path(cache).glob("distlab/torch/*/steps.so")
    mode = library.stat().st_mode
    library.chmod(0o777)
    try:
        _, found, fix = child("refused", XDG_CACHE_HOME=cache)
    finally:
        library.chmod(mode)
    assert f"others may write to {library}" in found
    assert f"chmod -R go-w {shlex.quote(f'{cache}/distlab/torch')}" in fix


def test_a_library_is_found_again_only_where_all_that_it_depends_on_is_as_it_was() -> None:
    found = child("keys")
    assert len(found) == 3
    for name, (first, *others) in found.items():
        constants, samples, batch, precision, *surroundings = others
        assert constants == samples == first
        assert (
            (batch == precision == first) if name == "optimizer" else (first != batch != precision)
        )
        assert len({first, batch, precision, *surroundings}) == (6 if name == "optimizer" else 8)


def test_indices_may_lie_in_memory_as_they_like() -> None:
    first, *whole_and_stock = child("indices")
    whole, stock = whole_and_stock[:3], whole_and_stock[3:]
    assert whole[0] == whole[1] == whole[2] != first
    assert stock[0] == stock[1] == stock[2]
    np.testing.assert_allclose(stock[0], whole[0], rtol=1e-5)


def test_a_damaged_library_is_told_and_the_command_that_mends_it(cache: str) -> None:
    child("once", "12", XDG_CACHE_HOME=cache)
    libraries = list(Path(cache).rglob("steps.so"))
    for library in libraries:
        library.write_bytes(b"")
    _, found, fix = child("refused", XDG_CACHE_HOME=cache)
    assert "cannot be loaded" in found
    folders = [library.parent for library in libraries]
    assert fix.splitlines()[0] in [f"delete the folder: rm -r {folder}" for folder in folders]


@pytest.mark.parametrize(
    ("compiler", "cache", "found", "fix"),
    [
        ("no-such-compiler", "", "there is no no-such-compiler", "install g++"),
        ("false", "", "could not compile the steps:\n", "execution=eager"),
        ("g++", "file", "no compiled steps can be kept in", "TORCHINDUCTOR_CACHE_DIR="),
    ],
)
def test_what_cannot_be_compiled_is_told(
    compiler: str, cache: str, found: str, fix: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    places = {"XDG_CACHE_HOME": str(tmp_path / cache), "TMPDIR": str(tmp_path / "tmp")}
    environment = {"CXX": compiler, **places}
    asked, said, fixes = child("refused", **environment)
    assert asked == "execution=graph with framework=torch device=cpu"
    assert found in said
    assert len(said.splitlines()) < 8
    assert fix in fixes
    kept = {file.name for file in tmp_path.rglob("distlab/torch/*") if file.suffix != ".lock"}
    assert kept <= {"inductor"}
    # Where another user may have put what torch loads.
    assert not list((tmp_path / "tmp").glob("torchinductor_*"))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))

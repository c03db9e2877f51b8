"""Every shipped backend against the contract."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from distlab import conformance
from distlab.conformance.problem import PROGRAMS

TestNumpy = pytest.mark.slow(conformance.suite("numpy_sockets:NumpyBackend"))


def shipped(framework: str, package: str, compiles_layers: bool = True) -> type:
    missing = pytest.mark.skipif(
        find_spec(package) is None,
        reason=f"NOT CHECKED AGAINST THE CONTRACT: framework={framework}, because {package} is "
        f'not installed: pip install "distlab[{framework}]"',
    )
    return pytest.mark.slow(missing(conformance.suite(framework, compiles_layers=compiles_layers)))


@pytest.fixture(scope="module", autouse=True)
def odd_shell() -> Iterator[None]:
    """A user's environment, of which nothing may reach the ranks: TensorFlow's would wait for ever.

    (Nothing listens on port 9.)
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("grpc_proxy", "http://127.0.0.1:9")
        patch.setenv("OMP_PROC_BIND", "true")
        yield


@pytest.fixture(scope="module")
def torch_steps() -> None:
    """torch's steps, compiled before they are needed; where that fails, the suite tells."""
    script = Path(__file__).with_name("torch_steps.py")
    with ExitStack() as begun:
        for model in PROGRAMS:
            worlds = conformance.THREADS[model]
            for threads in set(worlds.values()):
                command = [sys.executable, script, model, str(threads)]
                begun.enter_context(subprocess.Popen(command))


TestTorch = pytest.mark.usefixtures("torch_steps")(shipped("torch", "torch", False))
TestTensorFlow = shipped("tf", "tensorflow")
TestPaddle = shipped("paddle", "paddle")


@pytest.mark.slow
def test_unknown_framework_fails_every_check_and_says_why() -> None:
    outcomes = conformance.examine("fortran", models=["mlp"], timeout_s=30)
    assert not any(o.passed for o in outcomes)
    assert all("asked: framework=fortran" in o.detail for o in outcomes)


@pytest.mark.slow
def test_command_line_exits_with_1_and_names_the_failed_check() -> None:
    command = [sys.executable, "-m", "distlab.conformance"]
    result = subprocess.run(
        [*command, "faulty_backends:Tf32ClaimedOn", "--model", "mlp"],
        cwd=Path(__file__).parent / "backends",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1, result.stderr
    failed = [line for line in result.stdout.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert "description" in failed[0]
    assert "16 passed, 1 failed" in result.stdout


@pytest.mark.slow
def test_driver_imports_no_framework_and_no_backend() -> None:
    """All of distlab but the backends' own folders, as the driver sees it."""
    program = """
import pathlib, sys, distlab, distlab.backends
from distlab.backends import registry
root = pathlib.Path(distlab.__file__).parent
files = [file.relative_to(root.parent).with_suffix("") for file in root.rglob("*.py")]
names = [".".join(file.parts).removesuffix(".__init__") for file in files]
backends = tuple(e.module.rpartition(".")[0] + "." for e in registry.available().values())
for name in names:
    if not name.startswith(backends) and not name.endswith("__main__"):
        __import__(name)
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted(loaded & {"torch", "tensorflow", "keras", "paddle", "jax"}))
print(*sorted(name for name in sys.modules if name.startswith(backends)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []

import codecs
import importlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from thread_backend import World
from xdist.scheduler import LoadScopeScheduling

from distlab.data import sources
from distlab.data.dataset import Dataset
from distlab.experiment.command_line import words
from distlab.experiment.config_tree import CONF, register
from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.options import Options
from distlab.experiment.validate import validate

# torch's compiled steps trust their callers; here they look at the tensors that they are given.
os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
# What calls their kernels, and computes nothing, need not be optimised, and nobody debugs it:
# compiled in half the time.
os.environ["AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL"] = "O0"
os.environ["AOT_INDUCTOR_ENABLE_LINE_TABLES"] = "0"
# A test says where it records.
MLFLOW_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
for name in MLFLOW_VARIABLES:
    os.environ.pop(name, None)


RAY = (
    "tests/cluster/test_connect.py",
    "tests/cluster/test_group.py",
    "tests/cluster/test_two_hosts.py",
    "tests/cluster/train/test_run.py",
    "tests/conformance/test_break_backends.py",
    "tests/launch/test_postgresql.py",
    "tests/runs/test_studies.py",
    "tests/test_launch.py",
    "tests/test_readme.py",
)
"""Tests that start a Ray."""
COMMANDS = ("tests/runs/test_studies.py", "tests/test_launch.py", "tests/test_readme.py")
"""Those of them that run whole commands: about half of the time."""
LONGEST = "tests/conformance/"
"""Of those that start none: it takes a third of their time."""


class TwoRays(LoadScopeScheduling):
    """Tests of a module or class go to one process, and all that start a Ray to one of two.

    One process alone would be the last by far; each part keeps its own Rays one at a time.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(COMMANDS):
            return "commands"
        return "ray" if nodeid.startswith(RAY) else nodeid.rpartition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TwoRays:
    """What deals the tests out to processes."""
    return TwoRays(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process has nothing to do at the end.

    Those of a module stay together: what it runs once for many of them is else run again.
    """
    slow = {item.path for item in items if "slow" in item.keywords}

    def place(item: pytest.Item) -> tuple[bool, bool, bool]:
        starts_ray, longest = item.nodeid.startswith(RAY), item.nodeid.startswith(LONGEST)
        return not starts_ray, item.path not in slow, not longest

    items.sort(key=place)


@pytest.fixture(autouse=True)
def no_store_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow puts the store that a test names into the environment of all that follow."""
    for name in MLFLOW_VARIABLES:
        monkeypatch.delenv(name, raising=False)


SMALL_JOB = (
    "framework=torch",
    "framework.execution=eager",
    "data=mnist5k",
    "model=mlp",
    "device=cpu",
)


@pytest.fixture(scope="session")
def compose() -> Callable[..., DictConfig]:
    """Compose the real config tree as the command line does."""
    register()

    def composed(*overrides: str) -> DictConfig:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return hydra.compose("config", words.understood(overrides))

    return composed


@pytest.fixture(scope="session")
def experiment(compose: Callable[..., DictConfig]) -> Callable[..., Experiment]:
    """A validated experiment on CPU processes of a machine without GPUs."""

    def resolved(*overrides: str) -> Experiment:
        return resolve(validate(compose(*SMALL_JOB, *overrides)), gpus_present=0)

    return resolved


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """124 training and 23 test images of noise: neither is a multiple of the batch or the ranks."""
    generator = np.random.default_rng(7)

    def images(count: int) -> np.ndarray:
        return generator.integers(0, 256, (count, 28, 28), np.uint8)

    def labels(count: int) -> np.ndarray:
        return generator.integers(0, 10, count, np.int64)

    return Dataset("noise", images(124), labels(124), images(23), labels(23), "0" * 64, "noise")


@pytest.fixture(scope="session")
def thread_framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install a package that offers the backend ``framework=threads``, as anybody's package may."""
    folder = tmp_path_factory.mktemp("site-packages")
    info = folder / "distlab_threads-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: distlab-threads\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[distlab.backends]\nthreads = thread_backend:ThreadBackend\n"
    )
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture
def world(thread_framework: Path) -> Callable[[int], World]:
    """Make the group in which backends of threads exchange gradients."""
    return World.create


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder that this process may read and not write; root gives up its rights meanwhile."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    user, nobody = os.geteuid(), 65534
    # Python may be installed where only root may read; what a connection loads late, load now.
    importlib.import_module("requests")
    codecs.lookup("idna")
    if user == 0:
        os.seteuid(nobody)
    try:
        assert not os.access(folder, os.W_OK, effective_ids=True)
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def run_of_two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A command that trained on two CPU workers, in a shell that would bind both to one core."""
    import command  # it imports MLflow

    shell = {**command.ENVIRONMENT, "OMP_PROC_BIND": "true", "GOMP_CPU_AFFINITY": "0-1"}
    words = (*command.STRONG_JOB, "seed=1", "gpus=2", command.SECRET, command.TEXT)
    ended = command.run(tmp_path_factory.mktemp("run"), *words, environment=shell)
    assert ended.code == 0, ended.out + ended.err
    return ended


@pytest.fixture(scope="session")
def study_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty MLflow store."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def options(
    compose: Callable[..., DictConfig], study_store: str, request: pytest.FixtureRequest
) -> Callable[..., Options]:
    """Options of one cell; each test has an MLflow experiment of its own."""

    def validated(*overrides: str) -> Options:
        name = re.sub(r"\W", "-", request.node.name)
        tracking = (
            f"tracking.uri={study_store}",
            f"tracking.experiment={name}",
            "tracking.system_metrics=false",
            "tracking.log_model=false",
        )
        return validate(compose(*SMALL_JOB, "epochs=2", *tracking, *overrides))

    return validated


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """No Ray, no training, no plots; everything else of a study is real."""
    # These import MLflow and matplotlib, which most tests do without.
    from fake_runs import Machine, load_once

    from distlab.cluster import connect
    from distlab.report import publish
    from distlab.runs import run, sitting

    one = Machine()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "execute", one.execute)
    monkeypatch.setattr(sources, "load", load_once)
    # In the order of the plan, so that a test can say which run it means.
    monkeypatch.setattr(sitting, "place", lambda *_: "")
    monkeypatch.setattr(connect, "connect", lambda options: connect.Resources(2, 0, 1))
    monkeypatch.setattr(publish, "publish", lambda data, folder, out: folder / "report.html")
    return one

import codecs
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from thread_backend import World

from distlab import config
from distlab.config import Experiment
from distlab.data.sources import Dataset
from distlab.options import CONF, register


@pytest.fixture(scope="session")
def compose() -> Callable[..., DictConfig]:
    """Compose the real config tree as the command line does."""
    register()

    def composed(*overrides: str) -> DictConfig:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return hydra.compose("config", list(overrides))

    return composed


@pytest.fixture(scope="session")
def experiment(compose: Callable[..., DictConfig]) -> Callable[..., Experiment]:
    """A validated experiment on CPU processes of a machine without GPUs."""

    def resolved(*overrides: str) -> Experiment:
        defaults = ("framework=torch", "data=mnist5k", "model=mlp", "device=cpu")
        options = config.validate(compose(*defaults, *overrides))
        return config.resolve(options, gpus_present=0)

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

"""The check for borrowed machines, on a CPU, with nothing installed but NumPy and a framework."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check" / "gpu_check.py"
sys.path.insert(0, str(SCRIPT.parent))

import images  # noqa: E402
import models  # noqa: E402

from distlab.models.shipped import MODELS  # noqa: E402

ABSENT = (
    *("ray", "mlflow", "hydra", "omegaconf", "pydantic", "yaml", "psutil", "threadpoolctl"),
    *("pynvml", "pooch", "mlxtend", "scipy", "fsspec", "rich"),
)
"""What distlab needs elsewhere, and a borrowed machine has not got."""
BLOCKER = """
import sys

class Without:
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name in {absent} else self._finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment whose Pythons, and theirs, find none of these packages."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(absent=set(ABSENT)))
    kept = {name: value for name, value in os.environ.items() if name != "DISTLAB_DATA_DIR"}
    return {**kept, "PYTHONPATH": str(tmp_path)}


def test_the_blocker_blocks(bare: dict[str, str]) -> None:
    for name in ("ray", "yaml", "psutil"):
        command = [sys.executable, "-c", f"import {name}"]
        done = subprocess.run(command, env=bare, capture_output=True, text=True)
        assert "ModuleNotFoundError" in done.stderr


def test_loop_and_conformance_need_numpy_alone(bare: dict[str, str]) -> None:
    program = "import distlab.worker.loop, distlab.conformance.rank.rank"
    command = [sys.executable, "-c", program]
    environment = {**bare, "PYTHONPATH": os.pathsep.join([bare["PYTHONPATH"], str(ROOT)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", models.LAYERS)
def test_the_models_are_those_of_the_config_tree(name: str) -> None:
    assert models.spec(name) == MODELS[name]


def test_made_up_images_say_so_and_come_back_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTLAB_DATA_DIR", raising=False)
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    place, what = images.folder(None, tmp_path)
    assert what.startswith("MADE-UP IMAGES")
    (pictures, labels), (others, _) = images.load(place)
    assert (pictures.shape, len(others)) == ((6000, 1, 28, 28), 2000)
    assert pictures.min() == 0 and 0.5 < pictures.max() <= 1 and set(labels) == set(range(10))
    assert images.folder(str(tmp_path), tmp_path)[1] == f"the images in {tmp_path}"


@pytest.mark.slow
def test_the_cpu_twin_checks_trains_and_compares(bare: dict[str, str], tmp_path: Path) -> None:
    """Slow, as only the framework shows that its backend needs nothing more."""
    output = tmp_path / "found.json"
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--frameworks", "torch"]
    command += ["--models", "mlp", "--executions", "eager", "--epochs", "1"]
    done = subprocess.run(
        [*command, "--output", str(output)], env=bare, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MADE-UP IMAGES" in done.stdout and "12 of 12 conformance checks passed" in done.stdout
    (found,) = json.loads(output.read_text())["frameworks"]
    rounded = {cell["precision"]: cell["loss_errors"]["64"] for cell in found["training"]}
    assert rounded["fp32"][0] < 2e-6 < rounded["bf16"][0] < 4e-3
    assert not any(cell["wrong"] for cell in found["training"])
    assert found["quickstart"]["mlp"] > 0

"""The check for borrowed machines, on a CPU, with nothing installed but NumPy and a framework."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check" / "gpu_check.py"
sys.path.insert(0, str(SCRIPT.parent))

import gpu_check  # noqa: E402
import images  # noqa: E402
import models  # noqa: E402
import report  # noqa: E402

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


@pytest.mark.parametrize(
    ("visible", "taken"), [(None, "0"), ("", "0"), ("3,1", "3"), ("GPU-7a, GPU-7b", "GPU-7a")]
)
def test_of_several_gpus_one_is_taken_for_a_rank_refuses_several(
    visible: str | None, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both, so that both are put back.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    gpu_check.take_first_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def cell(model: str, precision: str, errors: dict[str, list[float | None]]) -> dict[str, Any]:
    """What a made-up cell measured, with these errors of its first losses by batch."""
    return {
        "model": model,
        "execution": "eager",
        "precision": precision,
        "wrong": [],
        "samples_per_s": 1000.0,
        "epoch_s": [2.0, 1.6],
        "step_us": 64000.0,
        "first_epoch_over_fastest": 1.25,
        "test_accuracy": [0.5, 0.9],
        "time_to_99_s": None,
        "compile_s": 1.5,
        "compiled_from_cache": True,
        "loss_errors": errors,
        "energy_j": 7.2,
        "framework_version": "2.13.0",
        "device_name": "NVIDIA Abacus",
    }


def test_the_surroundings_are_told_in_words() -> None:
    found: dict[str, Any] = {"python": "3.11.7", "driver": None, "c_compiler": None}
    found |= {"python_header": False, "gpu": None, "other_processes_on_gpu": None}
    assert report.surroundings(found) == (
        "Python: 3.11.7, NVIDIA driver: none, GPU: none, other processes on it: none, "
        "C compiler: none, Python's header: none"
    )
    found |= {"driver": "580.65.06", "python_header": True, "other_processes_on_gpu": 0}
    assert "GPU: not told (pip install nvidia-ml-py" in report.surroundings(found)
    found["gpu"] = {"name": "NVIDIA Abacus", "pci_address": "17:00.0"}
    assert "GPU: NVIDIA Abacus 17:00.0, other processes on it: 0, " in report.surroundings(found)
    assert report.surroundings(found).endswith("Python's header: there")


def test_whether_fp32_keeps_to_its_bounds_is_answered_for_each_batch() -> None:
    near, fft = [1e-7] * 10, [1e-7] * 9 + [2e-4]
    found = report.verdicts(
        [
            cell("mlp", "fp32", {"8": near, "64": near, "512": near}),
            cell("lenet5", "fp32", {"8": [3e-6, *near[1:]], "64": near, "512": fft}),
        ]
    )
    asked = "fp32 keeps to its bounds at a batch of"
    mlp = "mlp eager 1.0e-07 of 2e-06, 1.0e-07 of 1e-04"
    assert found == [
        f"{asked} 8: no ({mlp}; lenet5 eager NO, 3.0e-06 of 2e-06, 3.0e-06 of 1e-04)",
        f"{asked} 64: yes ({mlp}; {mlp.replace('mlp', 'lenet5')})",
        f"{asked} 512: no ({mlp}; lenet5 eager NO, 1.0e-07 of 2e-06, 2.0e-04 of 1e-04)",
        "the first epoch over the fastest: 1.25 to 1.25",
    ]


def test_whether_tf32_rounds_is_answered_for_each_batch_from_the_first_three_losses() -> None:
    rounded, late = [1e-7, 5e-6] + [1e-3] * 8, [1e-7] * 3 + [1e-3] * 7
    found = report.verdicts([cell("mlp", "tf32", {"64": rounded, "8": late})])
    assert found[:2] == [
        "tf32 rounds products at a batch of 8: no (mlp eager NO, 1.0e-07 against 2e-06)",
        "tf32 rounds products at a batch of 64: yes (mlp eager 1.0e-03 against 2e-06)",
    ]
    lost: list[float | None] = [None, *rounded[1:]]
    for precision in ("fp32", "tf32"):
        (answer, _) = report.verdicts([cell("mlp", precision, {"64": lost})])
        assert ": no (mlp eager NO, not a number" in answer


def test_a_result_is_told_in_lines_and_right_only_if_nothing_is_wrong() -> None:
    result: dict[str, Any] = {
        "framework": "torch",
        "conformance": [{"check": "adam", "execution": "eager", "model": "mlp", "passed": True}],
        "training": [cell("mlp", "fp32", {"64": [2e-7] * 10})],
        "quickstart": {"mlp": 500.0, "lenet5": "ENDED after 9 s"},
        "seconds": {"training": 12.3, "conformance": 45.6},
    }
    title, head, row, *rest = report.lines(result)
    assert title == "\ntorch 2.13.0 on NVIDIA Abacus: 1 of 1 conformance checks passed"
    assert [row[head.index(name) :].split("  ")[0] for name in report.HEAD] == [
        *("mlp", "eager", "fp32", "1,000", "64000.0", "1.5 (kept)", "not reached", "0.9000"),
        *("2.0e-07", "2.0e-07", "2.00", "2"),
    ]
    assert rest[-2:] == [
        "  quickstart of lenet5: ENDED after 9 s",
        "  seconds: training 12, conformance 46",
    ]
    assert report.right(result)
    result["conformance"][0] |= {"passed": False, "detail": "off"}
    assert "  FAILED adam (eager, mlp): off" in report.lines(result)
    assert not report.right(result)
    result["conformance"] = []
    assert report.right(result)
    result["training"].append({"framework": "torch", "precision": "tf32", "wrong": ["ENDED"]})
    assert "  WRONG tf32: ENDED" in report.lines(result)
    assert not report.right(result)


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
    within = "fp32 keeps to its bounds at a batch of 512: yes (mlp eager "
    assert within in done.stdout and "tf32 rounds" not in done.stdout

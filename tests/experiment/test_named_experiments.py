"""The named experiments of ``conf/experiment`` compose, and are what their comments say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from distlab.experiment.config_tree import CONF
from distlab.experiment.experiment import resolve
from distlab.experiment.validate import validate

EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
CLASSROOM = ("classroom_mlp", "classroom_lenet5")
FRAMEWORKS = ("torch", "tf", "paddle")

# Hydra's own command line around the real config tree; each job prints what it was composed to,
# and nothing is trained.
COMMAND = f"""
import json
import hydra
from hydra.core.hydra_config import HydraConfig
from distlab.experiment.config_tree import register

register()

@hydra.main(version_base="1.3", config_path={str(CONF)!r}, config_name="config")
def job(options):
    composed = HydraConfig.get()
    shown = [composed.mode.name, composed.runtime.choices["experiment"], options.framework.name]
    print(json.dumps([*shown, options.model.name, options.repeats, options.gpus, options.device]))

job()
"""


def jobs(folder: Path, *arguments: str) -> list[list[object]]:
    """What Hydra makes of a command line: mode and some values of each job."""
    callbacks = OmegaConf.load(CONF / "config.yaml").hydra.callbacks
    without = [f"~hydra.callbacks.{name}" for name in callbacks]
    command = [sys.executable, "-c", COMMAND, *arguments, *without]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_to_valid_options(
    name: str, compose: Callable[..., DictConfig]
) -> None:
    options = validate(compose(f"experiment={name}"))
    assert options != validate(compose())
    experiment = resolve(options, gpus_present=0)
    assert experiment.device == "cpu"
    assert (CONF / "experiment" / f"{name}.yaml").read_text().startswith("# @package _global_\n# ")


@pytest.mark.parametrize("name", CLASSROOM)
@pytest.mark.parametrize("gpus_present", [0, 1, 8])
def test_the_classroom_study_is_the_original_one(
    name: str, gpus_present: int, compose: Callable[..., DictConfig]
) -> None:
    options = validate(compose(f"experiment={name}"))
    experiment = resolve(options, gpus_present)
    assert (experiment.device, experiment.world_size, experiment.global_batch) == ("cpu", 1, 64)
    assert options.model.name == name.removeprefix("classroom_")
    assert options.data.name == "mnist"
    assert (options.epochs, options.learning_rate, options.repeats) == (10, 0.001, 10)
    assert options.optimizer.variant == "reference"


def test_the_classroom_study_of_lenet5_runs_on_a_gpu_where_asked(
    compose: Callable[..., DictConfig],
) -> None:
    options = validate(compose("experiment=classroom_lenet5", "device=gpu"))
    experiment = resolve(options, gpus_present=8)
    assert (experiment.device, experiment.world_size) == ("gpu", 1)


@pytest.mark.parametrize("name", CLASSROOM)
def test_the_classroom_study_asks_for_its_multirun_itself(
    name: str, compose: Callable[..., DictConfig]
) -> None:
    compose()  # registers the schema
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = hydra_compose("config", [f"experiment={name}"], return_hydra_config=True)
    assert composed.hydra.mode.name == "MULTIRUN"
    assert composed.hydra.sweeper.params == {"framework": ",".join(FRAMEWORKS)}


def test_one_command_without_multirun_flag_composes_all_three(tmp_path: Path) -> None:
    assert jobs(tmp_path, "experiment=classroom_mlp") == [
        ["MULTIRUN", "classroom_mlp", name, "mlp", 10, 1, "cpu"] for name in FRAMEWORKS
    ]


def test_the_command_line_overrides_the_classroom_study(tmp_path: Path) -> None:
    few = jobs(tmp_path, "experiment=classroom_lenet5", "framework=tf", "repeats=2", "device=gpu")
    assert few == [["MULTIRUN", "classroom_lenet5", "tf", "lenet5", 2, 1, "gpu"]]
    more = jobs(tmp_path, "-m", "experiment=classroom_mlp", "gpus=1,2", "framework=tf,torch")
    assert [(job[2], job[5]) for job in more] == [("tf", 1), ("tf", 2), ("torch", 1), ("torch", 2)]


def test_the_quickstart_is_one_run(tmp_path: Path) -> None:
    assert [job[0] for job in jobs(tmp_path, "experiment=quickstart")] == ["RUN"]

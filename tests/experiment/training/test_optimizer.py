from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from distlab.backends.base import Program
from distlab.errors import DistlabError
from distlab.experiment.config_tree import CONF
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import OptimizerOptions, Options
from distlab.experiment.training import optimizer
from distlab.experiment.validate import validate


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")))
def test_every_choice_makes_the_program_that_its_file_says(
    experiment: Callable[..., Experiment], name: str
) -> None:
    program = experiment(f"optimizer={name}").program
    assert program.rule == name and program.optimizer == "reference"
    for number, value in optimizer.file(name).items():
        assert getattr(program, number) == value
    if name == "adam":
        assert replace(program, local_batch=1, learning_rate=1e-3) == Program(1)


def test_numbers_are_changed_on_the_command_line(experiment: Callable[..., Experiment]) -> None:
    given = ("optimizer.momentum=0.9", "optimizer.nesterov=true", "optimizer.weight_decay=1e-4")
    program = experiment("optimizer=sgd", *given).program
    assert (program.momentum, program.nesterov, program.weight_decay) == (0.9, True, 1e-4)
    program = experiment("optimizer.beta1=0.8", "optimizer.epsilon=1e-3").program
    assert (program.beta1, program.beta2, program.epsilon) == (0.8, 0.999, 1e-3)


def test_a_plan_that_knows_of_no_optimizers_means_adam() -> None:
    merged = OmegaConf.merge(OmegaConf.structured(OptimizerOptions), {"variant": "reference"})
    options: Any = OmegaConf.to_object(merged)
    assert optimizer.completed(options) == optimizer.completed(OptimizerOptions())
    assert optimizer.numbers(options) == {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}


@pytest.mark.parametrize(
    ("overrides", "asked", "fix"),
    [
        (["optimizer.momentum=0.9"], "optimizer.momentum=0.9", "optimizer=sgd"),
        (["optimizer=sgd", "optimizer.beta1=0.8"], "optimizer.beta1=0.8", "optimizer=adam"),
        (["optimizer=sgd", "optimizer.momentum=1"], "optimizer.momentum=1", "momentum=0.0"),
        (["optimizer.beta2=-0.1"], "optimizer.beta2=-0.1", "beta2=0.999"),
        (["optimizer.epsilon=0"], "optimizer.epsilon=0", "epsilon=1e-08"),
        (["optimizer=adamw", "optimizer.weight_decay=2"], "weight_decay=2", "weight_decay=0.01"),
        (["optimizer=sgd", "optimizer.nesterov=true"], "nesterov=true", "momentum=0.9"),
        (["optimizer=sgd", "optimizer.variant=stock"], "variant=stock", "optimizer=sgd"),
    ],
)
def test_what_no_optimizer_has_is_refused_with_what_would_work(
    compose: Callable[..., DictConfig], overrides: list[str], asked: str, fix: str
) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose("device=cpu", *overrides))
    assert asked in caught.value.asked and fix in caught.value.fix


def test_a_report_tells_optimizers_with_their_numbers() -> None:
    assert optimizer.told({}) == "Adam (reference)"
    assert optimizer.told({"optimizer.variant": "stock"}) == "Adam (stock)"
    assert optimizer.told({"optimizer.beta1": "0.8"}) == "Adam (reference), beta1 0.8"
    given = {"optimizer.name": "sgd", "optimizer.momentum": "0.9", "optimizer.nesterov": "True"}
    assert optimizer.told(given) == (
        "SGD (reference), momentum 0.9, nesterov True, weight_decay 0.0"
    )


def test_options_made_by_programs_have_numbers_too() -> None:
    assert optimizer.numbers(Options().optimizer)["beta1"] == 0.9

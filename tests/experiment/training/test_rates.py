import math
from collections.abc import Callable

import numpy as np
import pytest
from omegaconf import DictConfig

from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.training import rates
from distlab.experiment.validate import validate

STEPS = 5


@pytest.fixture
def made(experiment: Callable[..., Experiment]) -> Callable[..., list[float]]:
    """Rates of two epochs of five steps, in units of 0.1."""

    def found(*overrides: str) -> list[float]:
        one = experiment("epochs=2", "learning_rate=0.1", *overrides)
        values = one.rates(STEPS)
        assert values.dtype == np.float64 and values.shape == (2 * STEPS,)
        return [float(value) for value in values]

    return found


def test_a_constant_rate_is_the_option_bit_for_bit(made: Callable[..., list[float]]) -> None:
    assert made() == [0.1] * 10


def test_schedules_are_their_formulas(made: Callable[..., list[float]]) -> None:
    cosine = [0.1 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    assert made("rate.schedule=cosine") == pytest.approx(cosine, rel=1e-15)
    dropped = made("rate.schedule=step", "rate.drop_epochs=[1]", "rate.drop_factor=0.2")
    assert dropped == pytest.approx([0.1] * 5 + [0.02] * 5, rel=1e-15)
    assert made("rate.warmup_steps=4")[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    both = made("rate.warmup_steps=2", "rate.schedule=cosine")
    rest = [0.1 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert both == pytest.approx([0.05, 0.1, *rest])


@pytest.mark.parametrize(("rule", "times"), [("none", 1), ("linear", 2), ("sqrt", math.sqrt(2))])
def test_workers_scale_the_rate_by_the_stated_rule(
    experiment: Callable[..., Experiment], rule: str, times: float
) -> None:
    one = experiment("gpus=2", "learning_rate=0.1", f"rate.by_workers={rule}")
    assert one.program.learning_rate == pytest.approx(0.1 * times)
    assert one.rates(STEPS) == pytest.approx(np.full(one.options.epochs * STEPS, 0.1 * times))


@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        (["rate.warmup_steps=-1"], "rate.warmup_steps=-1"),
        (["rate.drop_epochs=[1]"], "rate.schedule=constant"),
        (["rate.schedule=step"], "rate.drop_epochs=[]"),
        (["rate.schedule=step", "rate.drop_epochs=[3]", "epochs=3"], "epochs=3"),
        (["rate.schedule=step", "rate.drop_epochs=[2,1]"], "rate.drop_epochs=[2,1]"),
        (["rate.drop_factor=1"], "rate.drop_factor=1"),
        (["rate.by_workers=linear", "scaling=strong"], "scaling=strong"),
        (["rate.warmup_steps=5", "optimizer.variant=stock"], "optimizer.variant=stock"),
    ],
)
def test_what_no_schedule_means_is_refused(
    compose: Callable[..., DictConfig], overrides: list[str], asked: str
) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose("device=cpu", *overrides))
    assert asked in caught.value.asked


def test_a_warm_up_longer_than_the_run_is_refused_once_its_steps_are_known(
    experiment: Callable[..., Experiment],
) -> None:
    one = experiment("epochs=2", "rate.warmup_steps=11")
    with pytest.raises(DistlabError, match=r"the run takes 10 steps \(2 of 5\)"):
        one.rates(STEPS)
    assert len(one.rates(6)) == 12


def test_a_report_tells_what_becomes_of_the_rate() -> None:
    assert rates.told({}, "0.1") == "learning rate 0.1"
    given = {"rate.schedule": "cosine", "rate.warmup_steps": "9", "rate.by_workers": "linear"}
    assert rates.told(given, "0.1") == (
        "learning rate 0.1, falling by a cosine, warm-up of 9 steps, times the number of workers"
    )

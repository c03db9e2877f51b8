from collections.abc import Callable
from dataclasses import replace

import pytest

from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.training import stopping
from distlab.experiment.training.stopping import Stop

Made = Callable[..., Experiment]


@pytest.mark.parametrize(
    ("options", "asked", "fix"),
    [
        (("evaluate.every=0",), "evaluate.every=0", "evaluate.every=100"),
        (("stop.seconds=0",), "stop.seconds=0", "stop.seconds=60"),
        (("stop.seconds=-1",), "stop.seconds=-1", "stop.seconds=60"),
        (("stop.seconds=inf",), "stop.seconds=inf", "stop.seconds=60"),
        (("stop.seconds=nan",), "stop.seconds=nan", "stop.seconds=60"),
        (("stop.steps=0",), "stop.steps=0", "stop.steps=1000"),
        (
            ("stop.at_target=true", "data=synthetic"),
            "stop.at_target=true with data=synthetic",
            "stop.at_target=false stop.seconds=60",
        ),
    ],
)
def test_what_no_run_could_mean_is_refused(
    experiment: Made, options: tuple[str, ...], asked: str, fix: str
) -> None:
    with pytest.raises(DistlabError) as refused:
        experiment(*options)
    assert refused.value.asked.startswith(asked) and refused.value.fix.endswith(fix)
    experiment(*options, *fix.removeprefix("for example ").split())


def test_evaluations_that_are_rarer_than_one_an_epoch_are_refused(experiment: Made) -> None:
    options = experiment("evaluate.every=32").options
    with pytest.raises(DistlabError, match="an epoch has 31 steps") as refused:
        stopping.fits(options, 31)
    fixed = experiment(refused.value.fix.removeprefix("for example ")).options
    stopping.fits(fixed, 31)
    stopping.fits(options, 32)


def test_the_first_reason_ends_a_run() -> None:
    both = Stop(accuracy=0.5, seconds=10.0)
    assert both.depends and not Stop(steps=3).depends and not Stop().depends
    assert both.reached(0.49, 9.9) is None
    assert both.reached(0.5, 10.0) == "at_target"
    assert both.reached(0.4, 10.0) == "seconds"
    assert (Stop().most(10), Stop(steps=3).most(10), Stop(steps=30).most(10)) == (10, 3, 10)


def test_the_length_of_a_run_is_told(experiment: Made) -> None:
    assert stopping.told(experiment("epochs=1").options) == "1 epoch"
    one = experiment("epochs=9", "stop.at_target=true", "target_accuracy=0.9", "stop.steps=1")
    assert stopping.told(one.options) == "at most 9 epochs (until 90.0% or 1 step)"
    assert stopping.told(experiment("epochs=2", "stop.seconds=1.5").options) == (
        "at most 2 epochs (1.5 s of training)"
    )
    run = {"epochs": 9, "steps": 40, "steps_per_epoch": 31}
    assert stopping.passed({**run, "stopped": "steps"}) == "1.29 of 9 (stop.steps)"
    assert stopping.passed({"epochs": 9}) == "9"


def test_runs_to_different_targets_are_not_compared(experiment: Made) -> None:
    def key(*options: str) -> str:
        return experiment(*options).comparison_key("0" * 64, "abacus")

    assert key("target_accuracy=0.5") == key("target_accuracy=0.6")
    to_half = key("target_accuracy=0.5", "stop.at_target=true")
    assert to_half not in (key(), key("target_accuracy=0.6", "stop.at_target=true"))
    assert replace(Stop(), steps=None) == stopping.of(experiment().options)

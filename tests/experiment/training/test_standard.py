"""What was recorded before there was a choice keeps its hashes, and nothing else has them."""

from collections.abc import Callable
from itertools import combinations

from distlab.experiment.experiment import Experiment
from distlab.experiment.options import flat
from distlab.experiment.training.standard import beyond
from distlab.runs.plan import Cell

CHOICES = (
    (),
    ("optimizer=adamw",),
    ("optimizer=adamw", "optimizer.weight_decay=0.1"),
    ("optimizer=sgd",),
    ("optimizer=sgd", "optimizer.momentum=0.9"),
    ("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true"),
    ("optimizer.beta1=0.8",),
    ("rate.schedule=cosine",),
    ("rate.warmup_steps=3",),
    ("rate.by_workers=linear",),
    ("evaluate.every=10",),
    ("stop.at_target=true",),
    ("stop.seconds=60",),
    ("stop.steps=100",),
    ("rate.schedule=step", "rate.drop_epochs=[1]", "epochs=2"),
    ("rate.schedule=step", "rate.drop_epochs=[1]", "rate.drop_factor=0.5", "epochs=2"),
)

MNIST5K = "cb7d70bf22d0107d9b03bd3fe0e4d0eb5f637589d2c9d2ada77eb075777a5301"
KNOWN = ("5e975072e4ed1e65", "e31630032eb6c2a1", "c86826a29b6f2d7d")
"""As commit 56f155a made them, which knew of Adam at a constant rate alone."""


def keys(one: Experiment) -> tuple[str, str, str]:
    cell = Cell(one.options, "folder", MNIST5K)
    return one.comparison_key(MNIST5K, "abacus"), one.series(MNIST5K), cell.key


def test_adam_at_a_constant_rate_has_the_keys_that_it_always_had(
    experiment: Callable[..., Experiment],
) -> None:
    one = experiment("model=mlp", "learning_rate=0.01")
    assert beyond(flat(one.options)) == {}
    assert keys(one) == KNOWN
    assert keys(experiment("model=mlp", "learning_rate=0.01", "optimizer=adam")) == KNOWN
    assert keys(experiment("model=mlp", "learning_rate=0.01", "optimizer.beta1=0.9")) == KNOWN


def test_every_other_choice_has_keys_of_its_own(experiment: Callable[..., Experiment]) -> None:
    found = {choice: keys(experiment(*choice)) for choice in CHOICES}
    for one, other in combinations(CHOICES, 2):
        equal = [a == b for a, b in zip(found[one], found[other], strict=True)]
        assert not any(equal), f"{one} and {other}"


def test_parameters_of_old_runs_in_mlflow_are_as_those_of_adam_now(
    experiment: Callable[..., Experiment],
) -> None:
    """A run with one worker is another's baseline only if it was trained alike."""
    now = {name: str(value) for name, value in flat(experiment().options).items()}
    before = {"optimizer.variant": "reference", "learning_rate": "0.001"}
    assert beyond(now) == beyond(before) == {}
    sgd = {name: str(v) for name, v in flat(experiment("optimizer=sgd").options).items()}
    assert beyond(sgd) == {
        "optimizer.name": "sgd",
        "optimizer.momentum": "0.0",
        "optimizer.nesterov": "False",
        "optimizer.weight_decay": "0.0",
    }

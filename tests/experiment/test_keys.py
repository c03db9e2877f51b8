import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from omegaconf import DictConfig

from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.validate import validate

Compose = Callable[..., DictConfig]


def test_a_version_is_no_other_series_and_an_unnamed_one_no_other_cell(compose: Compose) -> None:
    here = importlib.metadata.version("torch").partition("+")[0]
    one, other = (
        resolve(validate(compose(f"framework.version={version}")), 0) for version in (here, "null")
    )
    assert one.series("0") == other.series("0")
    assert one.comparison_key("0", "cpu") == other.comparison_key("0", "cpu")


def key(one: Experiment, checksum: str = "c" * 64, device_name: str = "abacus") -> str:
    return one.comparison_key(checksum, device_name)


@pytest.mark.parametrize(
    "overrides",
    [
        ["gpus=4"],
        ["execution=graph"],
        ["framework.name=tf", "framework.package=sys"],
        ["tracking.experiment=other"],
        ["cluster=existing"],
        ["target_accuracy=0.1"],
    ],
)
def test_comparison_key_is_equal_across_what_a_comparison_varies(
    experiment: Callable[..., Experiment], overrides: list[str]
) -> None:
    assert key(experiment(*overrides)) == key(experiment())


@pytest.mark.parametrize(
    "overrides", [["gpus=4"], ["device=cpu"], ["repeats=9"], ["execution=graph"]]
)
def test_a_series_is_one_over_numbers_of_workers(
    experiment: Callable[..., Experiment], overrides: list[str]
) -> None:
    told = [*overrides, f"execution={experiment(*overrides).execution}"]
    assert experiment(*overrides).series("0" * 64) == experiment(*told).series("0" * 64)
    same = experiment(f"execution={experiment(*overrides).execution}")
    assert experiment(*overrides).series("0" * 64) == same.series("0" * 64)


def test_a_series_is_of_the_content_of_data_wherever_they_lie(
    experiment: Callable[..., Experiment],
) -> None:
    folder = experiment("data=mnist", "data.dir=/x").series("0" * 64)
    assert folder == experiment("data=mnist", "data.dir=/y").series("0" * 64)
    assert folder == experiment("data=fashion_mnist", "data.samples=100").series("0" * 64)
    assert folder != experiment("data=mnist", "data.dir=/x").series("1" * 64)


@pytest.mark.parametrize(
    "change",
    [
        *("target_accuracy=0.1", "measure_exchange=false", "+framework.env.A=1"),
        *("batch_size=32", "pin=cores"),
    ],
)
def test_what_differs_in_anything_else_is_another_series(
    experiment: Callable[..., Experiment], change: str
) -> None:
    assert experiment(change).series("0" * 64) != experiment().series("0" * 64)


def test_comparison_key_differs_on_all_that_must_be_equal(
    experiment: Callable[..., Experiment],
) -> None:
    base = experiment()
    keys = {
        "base": key(base),
        "data": key(base, checksum="d" * 64),
        "device name": key(base, device_name="loom"),
        "device": key(replace(base, device="gpu")),
    }
    for override in (
        "model=lenet5",
        "epochs=11",
        "batch_size=65",
        "scaling=strong",
        "learning_rate=0.002",
        "optimizer.variant=stock",
        "precision=bf16",
        "seed=1",
        "threads_per_worker=2",
        "pin=cores",
    ):
        keys[override] = key(experiment(override))
    for one, other in combinations(keys, 2):
        assert keys[one] != keys[other], f"{one} and {other}"
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in keys.values())


def test_comparison_key_stays_the_same_across_processes_and_versions(
    experiment: Callable[..., Experiment],
) -> None:
    """A stored key is compared with those of later runs: a change here breaks all records."""
    assert key(experiment()) == key(experiment())
    # As it was before there was a choice of precision.
    assert key(experiment(), "c" * 64, "abacus") == "1c0d5b44549c8163"
    assert key(experiment("epochs=10")) == key(experiment("batch_size=64"))


def test_models_of_the_same_name_and_other_layers_are_never_compared(
    experiment: Callable[..., Experiment],
) -> None:
    layers = ("[flatten,{dense:classes}]", "[flatten,{dense:5},{dense:classes}]")
    one, other = (experiment("model.name=net", f"model.layers={text}") for text in layers)
    assert key(one) != key(other)
    assert one.series("d") != other.series("d")
    again = experiment("model.name=net", "model.layers=[flatten,{dense:{outputs:10}}]")
    assert key(one) == key(again)  # however they are written


def test_records_from_before_models_were_config_name_the_same_model(
    experiment: Callable[..., Experiment],
) -> None:
    now = experiment("model=lenet5")
    model = replace(now.options.model, layers=None)
    before = replace(now, options=replace(now.options, model=model))
    assert before.spec == now.spec
    assert key(before) == key(now)
    assert before.series("d") == now.series("d")

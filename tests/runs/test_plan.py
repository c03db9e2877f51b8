from collections.abc import Callable

import pytest

from distlab.data import dataset
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import Device, Options
from distlab.runs.plan import Cell, cells, extended, named, once, surroundings, twice

Of = Callable[..., Options]


@pytest.fixture
def options(experiment: Callable[..., Experiment]) -> Of:
    return lambda *overrides: experiment(*overrides).options


def key(options: Options, checksum: str | None = dataset.MNIST5K_CHECKSUM) -> str:
    return Cell(options, "folder", checksum).key


@pytest.mark.parametrize(
    "override",
    [
        "framework=tf",
        "model=lenet5",
        "gpus=2",
        "execution=graph",
        "precision=bf16",
        "epochs=3",
        "batch_size=32",
        "scaling=strong",
        "learning_rate=0.1",
        "optimizer.variant=stock",
        "seed=1",
        "threads_per_worker=2",
        "target_accuracy=0.5",
        "measure_exchange=false",
        "+framework.env.A=1",
    ],
)
def test_each_option_of_an_experiment_makes_another_cell(options: Of, override: str) -> None:
    assert key(options(override)) != key(options())


@pytest.mark.parametrize(
    "override",
    ["repeats=3", "study=a", "tracking.uri=b", "cluster=existing"],
)
def test_what_differs_between_sittings_makes_no_other_cell(options: Of, override: str) -> None:
    assert key(options(override)) == key(options())


def test_what_is_planned_twice_is_one_cell_in_the_order_of_the_plan(options: Of) -> None:
    found = once(cells([options("framework=tf"), options(), options("framework=tf")]))
    assert [cell.options.framework.name for cell in found] == ["tf", "torch"]
    assert len({cell.folder for cell in found}) == 2


def test_a_study_taken_up_with_nothing_else_runs_its_plan(options: Of) -> None:
    recorded = named(cells([options("epochs=3", "repeats=2"), options("framework=tf")]))
    for overrides in (["study=a"], ["study=a", "cluster=existing", "tracking.uri=b"]):
        assert extended(recorded, cells([options()]), overrides) == (recorded, recorded)


def repeats(cells: list[Cell]) -> list[int]:
    return [cell.options.repeats for cell in cells]


def test_more_repeats_are_those_of_the_command(options: Of) -> None:
    recorded = cells([options("repeats=2"), options("framework=tf", "repeats=2")])
    run, plan = extended(recorded, cells([options("repeats=5")]), ["study=a", "repeats=5"])
    assert repeats(run) == repeats(plan) == [5, 5]
    run, plan = extended(recorded, cells([options("repeats=1")]), ["study=a", "repeats=1"])
    assert repeats(run) == [1, 1]
    assert repeats(plan) == [2, 2], "a plan doesn't shrink"


def test_other_cells_are_run_alone_and_added_to_the_plan(options: Of) -> None:
    recorded, new = cells([options("repeats=2")]), cells([options("framework=paddle")])
    run, plan = extended(recorded, new, ["study=a", "framework=paddle"])
    assert run == new
    assert plan == [*recorded, *new]


def test_what_a_command_needs_to_find_its_study_again(options: Of) -> None:
    overrides = ["framework=tf", "+tracking.uri=a", "cluster=existing", "data.dir=b", "study=c"]
    assert surroundings(overrides) == ["+tracking.uri=a", "cluster=existing", "data.dir=b"]


def test_the_resolved_execution_identifies_a_cell_and_not_the_default_that_led_to_it(
    options: Of,
) -> None:
    by_model = "+framework.execution_by_model.mlp=graph"
    assert key(options()) == key(options("execution=eager"))
    assert key(options(by_model)) == key(options("execution=graph"))
    assert key(options(by_model)) == key(options("framework.execution=graph"))
    assert key(options(by_model)) != key(options())
    assert key(options("+framework.execution_by_model.lenet5=graph")) == key(options())
    assert len(once(cells([options(), options("execution=eager"), options(by_model)]))) == 2


def test_data_are_known_by_their_content(options: Of) -> None:
    def of(checksum: str | None, *overrides: str) -> str:
        return key(options(*overrides), checksum)

    a, b = "a" * 64, "b" * 64
    here, there = ("data=mnist", "data.dir=here"), ("data=mnist", "data.dir=there")
    assert of(a, *here) != of(b, *here), "other content in one folder"
    assert of(a, *here) == of(a, *there), "one content in two folders"
    assert of(None, *here) != of(None, *there), "not to be loaded, so known by the folder alone"
    assert of(dataset.MNIST_CHECKSUM, *here) == of(dataset.MNIST_CHECKSUM, "data=mnist")
    assert of(dataset.MNIST5K_CHECKSUM, *here) == of(dataset.MNIST5K_CHECKSUM, "data=mnist5k")
    # Recorded keys of the canonical data sets were made of their names.
    assert of(dataset.MNIST_CHECKSUM, *here) == Cell(options(*here), "folder").by_name


def test_one_content_in_two_folders_is_told_and_runs_once(options: Of) -> None:
    planned = [options("data=mnist", f"data.dir={name}") for name in ("A", "B", "C")]
    asked = named(cells(planned, ["a" * 64, "a" * 64, "b" * 64]))
    assert [cell.label for cell in once(asked)] == [
        "torch eager mlp x1 data=idx:aaaaaaaa",
        "torch eager mlp x1 data=idx:bbbbbbbb",
    ]
    assert twice(asked) == [
        "data.dir=B is the same cell as data.dir=A and runs once: "
        "torch eager mlp x1 data=idx:aaaaaaaa"
    ]
    assert twice(once(asked)) == []


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("learning_rate=0.001", "learning_rate=0.01", "learning_rate=0.01"),
        ("optimizer.variant=reference", "optimizer.variant=stock", "optimizer.variant=stock"),
        ("seed=0", "seed=1", "seed=1"),
        ("epochs=1", "epochs=5", "epochs=5"),
        ("batch_size=64", "batch_size=32", "batch_size=32"),
        ("scaling=weak", "scaling=strong", "scaling=strong"),
        ("threads_per_worker=1", "threads_per_worker=2", "threads_per_worker=2"),
        ("target_accuracy=0.9", "target_accuracy=0.95", "target_accuracy=0.95"),
        ("measure_exchange=true", "measure_exchange=false", "measure_exchange=false"),
        ("+framework.env.X=1", "+framework.env.X=2", "framework.env.X=2"),
        ("seed=0", "+framework.env.X=2", "framework.env.X=2"),
        ("data=mnist", "data=mnist5k", "data=mnist5k"),
        ("device=cpu", "device=auto", "device=auto"),
        (
            "framework.runtime_env=null",
            "framework.runtime_env=a.yaml",
            "framework.runtime_env=a.yaml",
        ),
    ],
)
def test_a_name_holds_what_tells_the_cell_from_its_neighbours(
    options: Of, one: str, other: str, told: str
) -> None:
    common = options("framework=tf"), options("framework=tf", "gpus=2")
    first, second, *_ = named(cells([options(one), options(other), *common]))
    assert second.label.endswith(f" {told}")
    assert first.label != second.label
    assert first.label.startswith("torch eager mlp x")
    assert second.alone(Device.cpu).label.split(" ")[:4] == ["torch", "eager", "mlp", "x1"]


def test_a_name_holds_nothing_that_follows_from_the_framework_or_the_model(options: Of) -> None:
    planned = [
        options(f"framework={framework}", f"model={model}", f"precision={precision}")
        for framework in ("torch", "tf", "paddle")
        for model in ("mlp", "lenet5")
        for precision in ("fp32", "bf16")
    ]
    labels = [cell.label for cell in named(cells(planned))]
    assert len(set(labels)) == 12
    assert not any("=" in label for label in labels)


def test_a_baseline_is_named_as_the_cell_that_it_is_for(options: Of) -> None:
    planned = [options("gpus=2", f"learning_rate={rate}") for rate in ("0.001", "0.01")]
    alone = [cell.alone(Device.cpu).label for cell in named(cells(planned))]
    assert alone == [f"torch eager mlp x1 learning_rate={rate}" for rate in ("0.001", "0.01")]


def test_cells_that_join_a_study_make_its_names_longer(options: Of) -> None:
    recorded = named(cells([options()]))
    assert recorded[0].label == "torch eager mlp x1"
    _, plan = extended(recorded, cells([options("seed=1")]), ["study=a", "seed=1"])
    assert [cell.label for cell in plan] == [
        "torch eager mlp x1 seed=0",
        "torch eager mlp x1 seed=1",
    ]

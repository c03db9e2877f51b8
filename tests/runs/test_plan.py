import json
from collections.abc import Callable

import pytest

from distlab.experiment.experiment import Experiment
from distlab.experiment.options import Options
from distlab.runs.plan import Cell, cells, extended, plain, restored, surroundings

Of = Callable[..., Options]


@pytest.fixture
def options(experiment: Callable[..., Experiment]) -> Of:
    return lambda *overrides: experiment(*overrides).options


def key(options: Options) -> str:
    return Cell(options, "folder").key


def test_options_come_back_from_json_as_they_were(options: Of) -> None:
    one = options(
        "framework=tf", "execution=graph", "scaling=strong", "gpus=2", "learning_rate=1e-7"
    )
    assert restored(json.loads(json.dumps(plain(one))), one) == one
    assert key(restored(json.loads(json.dumps(plain(one))), one)) == key(one)


def test_where_a_study_is_recorded_and_run_is_the_new_commands_business(options: Of) -> None:
    before = options("epochs=3", "repeats=4")
    now = options(
        "tracking.uri=http://there",
        "cluster.start_timeout_s=7",
        "data.dir=/data",
        "study=abc",
        "epochs=9",
        "repeats=9",
    )
    one = restored(plain(before), now)
    assert (one.tracking, one.cluster, one.study) == (now.tracking, now.cluster, "abc")
    assert (one.data.name, one.data.dir) == ("mnist5k", "/data")
    assert (one.epochs, one.repeats) == (3, 4)
    assert key(one) == key(before)


@pytest.mark.parametrize(
    "override",
    [
        "framework=tf",
        "model=lenet5",
        "data=mnist",
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
    ["repeats=3", "study=a", "tracking.uri=b", "cluster=existing", "data.dir=c"],
)
def test_what_differs_between_sittings_makes_no_other_cell(options: Of, override: str) -> None:
    assert key(options(override)) == key(options())


def test_what_is_planned_twice_is_one_cell_in_the_order_of_the_plan(options: Of) -> None:
    found = cells([options("framework=tf"), options(), options("framework=tf")])
    assert [cell.options.framework.name for cell in found] == ["tf", "torch"]
    assert len({cell.folder for cell in found}) == 2


def test_a_study_taken_up_with_nothing_else_runs_its_plan(options: Of) -> None:
    recorded = [options("epochs=3", "repeats=2"), options("framework=tf")]
    for overrides in (["study=a"], ["study=a", "cluster=existing", "tracking.uri=b"]):
        assert extended(recorded, [options()], overrides) == (recorded, recorded)


def test_more_repeats_are_those_of_the_command(options: Of) -> None:
    recorded = [options("repeats=2"), options("framework=tf", "repeats=2")]
    run, plan = extended(recorded, [options("repeats=5")], ["study=a", "repeats=5"])
    assert [one.repeats for one in run] == [one.repeats for one in plan] == [5, 5]
    run, plan = extended(recorded, [options("repeats=1")], ["study=a", "repeats=1"])
    assert [one.repeats for one in run] == [1, 1]
    assert [one.repeats for one in plan] == [2, 2], "a plan doesn't shrink"


def test_other_cells_are_run_alone_and_added_to_the_plan(options: Of) -> None:
    recorded, new = [options("repeats=2")], [options("framework=paddle")]
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
    assert len(cells([options(), options("execution=eager"), options(by_model)])) == 2


def test_defaults_by_model_come_back_from_json_and_name_the_cell(options: Of) -> None:
    one = options("+framework.execution_by_model.mlp=graph", "precision=bf16")
    again = restored(json.loads(json.dumps(plain(one))), options())
    assert again == one
    assert Cell(again, "folder").label == "torch graph mlp x1 bf16"


def test_a_plan_recorded_before_there_was_a_precision_is_fp32(options: Of) -> None:
    values = plain(options())
    del values["precision"], values["framework"]["execution_by_model"]
    assert restored(values, options()) == options()
    assert key(restored(values, options())) == key(options())

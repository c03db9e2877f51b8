import json
import math
from typing import Any

import pytest
from studies import study, where

from distlab.measure.blocks import PROCESS_SD, mean, paired
from distlab.measure.statistics import Estimate
from distlab.outcome.caveats import counts
from distlab.report.figures.cell import Cell
from distlab.report.figures.cells import cells
from distlab.report.figures.runs import SPEED, ratio, sample

ONE = {"models": ("mlp",), "scalings": ("weak",)}


def cell_of(found: list[Cell], framework: str, world_size: int, **values: Any) -> Cell:
    (cell,) = (
        cell
        for cell in found
        if (cell.framework, cell.world_size) == (framework, world_size)
        and all(getattr(cell, name) == value for name, value in values.items())
    )
    return cell


def test_repeats_are_gathered_into_cells_in_order() -> None:
    found = cells(study(repeats=3))
    assert [(c.model, c.scaling, c.world_size, c.framework) for c in found] == [
        (model, scaling, size, framework)
        for model in ("mlp", "lenet5")
        for scaling in ("weak", "strong")
        for size in (1, 2)
        for framework in ("torch", "tf", "paddle")
    ]
    assert all([run["repeat"] for run in cell.runs] == [0, 1, 2] for cell in found)


def test_cells_stand_in_the_order_of_the_plan_whatever_ran_first() -> None:
    told = study(frameworks=["torch", "tf", "paddle"], world_sizes=[1], models=["mlp"])
    plan = {"paddle": 0, "torch": 1, "tf": 2}
    for run in told["runs"]:
        run["position"] = plan[run["framework"]]
    assert list(dict.fromkeys(cell.framework for cell in cells(told))) == list(plan)


def test_the_order_of_runs_does_not_change_a_cell() -> None:
    made = study(repeats=3, **ONE)
    turned = {**made, "runs": made["runs"][::-1]}
    assert {c.cell: c for c in cells(turned)} == {c.cell: c for c in cells(made)}


def test_batches_and_epochs_make_groups_that_stand_together() -> None:
    parts = [
        study(repeats=1, **ONE, batch_size=batch, epochs=epochs)["runs"]
        for batch, epochs in ((128, 3), (64, 2), (64, 3))
    ]
    mixed = [run for runs in zip(*parts, strict=True) for run in runs]
    found = cells({**study(repeats=1, **ONE), "runs": mixed})
    assert [(c.batch_size, c.epochs, c.world_size) for c in found] == [
        (batch, epochs, size)
        for batch, epochs in ((64, 2), (64, 3), (128, 3))
        for size in (1, 2)
        for _ in range(3)
    ]


def test_a_cell_has_its_conditions_and_a_label() -> None:
    cell = cell_of(cells(study(repeats=1, **ONE)), "tf", 2)
    assert cell.label == "tf graph, 2 CPU workers"
    assert (cell.framework_version, cell.global_batch_size) == ("2.21.0", 128)
    assert cell_of(cells(study(repeats=1, **ONE)), "torch", 1).label == "torch eager, 1 CPU worker"
    on_gpu = cells(study(repeats=1, **ONE, values={"device": "gpu"}))
    assert cell_of(on_gpu, "torch", 2).label == "torch eager, 2 GPU workers"


def by_hand(**changes: list[Any]) -> dict[str, Any]:
    """A study of one cell with one worker, whose runs have the given values."""
    made = study(
        repeats=len(next(iter(changes.values()))), frameworks=["torch"], world_sizes=[1], **ONE
    )
    for name, values in changes.items():
        for run, value in zip(made["runs"], values, strict=True):
            run[name] = value
    return made


def test_figures_by_hand() -> None:
    (cell,) = cells(
        by_hand(
            throughput_samples_per_s=[100.0, 130.0, 110.0],
            epoch_time_s=[[1.0, 3.0], [2.0, 4.0], [5.0, 9.0]],
            test_accuracy=[[0.1, 0.90], [0.1, 0.92], [0.1, 0.97]],
            time_to_accuracy_s=[None, 4.0, 2.0],
            group_run=[0, 1, 0],
            startup_s=[8.0, 1.0, 9.0],
            compile_s=[0.5, 0.0, 0.7],
            peak_memory_bytes=[300.0, 500.0, 400.0],
            communication_share=[0.1, -0.05, 0.2],
            matrix_product_flops_per_s=[2e8, 1e8, 4e8],
        )
    )
    assert cell.throughput is not None and cell.epoch_time_s is not None
    # 112.66 = (100 * 130 * 110) ** (1 / 3); the logarithms' sd is 0.1328, t(2) = 4.303: the mean's
    # interval begins at 81.0, the median's at 110 exp(-4.303 * 0.1328 sqrt(pi / 6)).
    assert cell.throughput.value == pytest.approx(112.662, abs=1e-3)
    assert cell.throughput.low == pytest.approx(72.748, abs=1e-3)
    assert cell.epoch_time_s.value == pytest.approx((2 * 3 * 7) ** (1 / 3))
    assert cell.accuracy_mean == pytest.approx(0.93)
    assert cell.accuracy_sd == pytest.approx(0.0360555, abs=1e-6)
    # The run that did not reach it is the slowest: of 2, 4 and never, 4 is in the middle.
    assert cell.time_to_accuracy_s == Estimate(4.0, None, None, 3)
    assert (cell.reached, len(cell.counted)) == (2, 3)
    assert (cell.startup_s, cell.compile_s) == (8.5, 0.6)
    assert cell.peak_memory_bytes == 500.0
    assert cell.communication_share is not None and cell.model_flop_utilisation is not None
    assert cell.communication_share.value == pytest.approx(1 - (0.9 * 1.05 * 0.8) ** (1 / 3))
    assert cell.communication_share.low is not None and cell.communication_share.low < 0
    assert cell.communication_told is False
    assert cell.model_flop_utilisation.value == pytest.approx(112.662 * 537_660 / 2e8, rel=1e-4)
    assert cell.spread == pytest.approx(30 / 112.662, abs=1e-5)
    assert cell.groups == 3


def test_one_run_has_figures_without_intervals() -> None:
    cell = cell_of(cells(study(repeats=1, **ONE)), "torch", 2)
    assert cell.ranked
    assert cell.throughput is not None and cell.throughput.low is None
    assert cell.accuracy_mean is not None and cell.accuracy_sd is None
    assert cell.spread == 0.0


def test_a_communication_share_is_told_where_its_interval_or_each_runs_lies_above_0() -> None:
    def told(repeats: int, **values: float | None) -> bool | None:
        made = study(repeats=repeats, **ONE, values=values)
        return cell_of(cells(made), "torch", 2).communication_told

    assert told(3) and told(1)
    assert cell_of(cells(study(repeats=3, **ONE)), "torch", 1).communication_told is None
    # Below 0 there is nothing but noise.
    assert told(3, communication_share=-0.1) is False
    # Of fewer than three runs, each must tell it; those of old records do not.
    assert told(2, communication_share_low=-0.01) is False
    assert told(2, communication_share_low=None) is False
    assert told(3, communication_share_low=None)


def test_what_was_not_measured_is_none() -> None:
    cell = cell_of(cells(study(repeats=3, **ONE)), "torch", 1)
    assert cell.communication_share is None
    slow = cells(study(repeats=3, **ONE, values={"group_run": 2, "time_to_accuracy_s": None}))
    assert {(c.startup_s, c.time_to_accuracy_s, c.reached) for c in slow} == {(None, None, 0)}


def test_workers_kept_from_another_cell_compile_in_the_first_run() -> None:
    for cell in cells(study(repeats=3, **ONE, values={"group_run": 2})):
        assert cell.compile_s == cell.runs[0]["compile_s"]


# Speed-up and efficiency.


def test_the_speed_up_is_paired_by_repeat_with_one_worker_of_this_study() -> None:
    found = cells(study(repeats=5, **ONE))
    for framework in ("torch", "tf", "paddle"):
        one, two = cell_of(found, framework, 1), cell_of(found, framework, 2)
        speeds = [sample(cell.runs) for cell in (two, one)]
        assert two.speedup == paired(*speeds).estimate
        assert two.efficiency == two.speedup.scaled(0.5)
        assert two.baseline == "this study"


def test_a_speed_up_of_exactly_1_6_through_a_drift() -> None:
    made = study(repeats=4, frameworks=["torch"], **ONE)
    for run in made["runs"]:
        drift = (1.0, 0.8, 0.5, 0.2)[run["repeat"]]
        run["throughput_samples_per_s"] = drift * (1600.0 if run["world_size"] == 2 else 1000.0)
    two = cell_of(cells(made), "torch", 2)
    assert two.speedup is not None and two.efficiency is not None
    assert (two.speedup.low, two.speedup.high) == pytest.approx((1.6, 1.6))
    assert (two.efficiency.low, two.efficiency.high) == pytest.approx((0.8, 0.8))


def test_one_worker_is_its_own_measure_by_definition() -> None:
    one = cell_of(cells(study(repeats=5, **ONE)), "torch", 1)
    assert one.speedup == one.efficiency == Estimate(1.0, None, None, 5)


def test_without_one_worker_in_the_study_runs_of_the_store_are_the_measure() -> None:
    made = study(repeats=3, frameworks=["torch"], **ONE, baselines="store")
    stored = made["baselines"][:1]
    two = cell_of(cells({**made, "baselines": stored}), "torch", 2)
    assert two.baseline == f"run {stored[0]['mlflow']['run_id']}"
    assert two.speedup is not None
    assert (two.speedup.low, two.speedup.n) == (None, 1)  # one baseline says nothing of its spread
    two = cell_of(cells(made), "torch", 2)
    assert two.speedup is not None and two.speedup.n == 3
    assert all(run["mlflow"]["run_id"] in str(two.baseline) for run in made["baselines"])


@pytest.mark.parametrize(
    "change",
    [
        {"comparison_key": "other"},
        {"framework": "other"},
        {"framework_version": "0"},
        {"execution": "other"},
        {"verified": False},
    ],
)
def test_nothing_is_measured_against_another_experiment(change: dict[str, Any]) -> None:
    made = study(repeats=3, frameworks=["torch"], **ONE)
    for run in made["runs"]:
        if run["world_size"] == 1:
            run.update(change, cell="another")
    two = next(cell for cell in cells(made) if cell.world_size == 2)
    assert (two.speedup, two.efficiency, two.baseline) == (None, None, None)


def test_a_repeat_that_does_not_count_leaves_its_pair_out() -> None:
    bad = where(framework="torch", world_size=1, repeat=2)
    found = cells(study(repeats=5, **ONE, unverified=bad))
    one, two = cell_of(found, "torch", 1), cell_of(found, "torch", 2)
    assert (len(one.counted), len(two.counted)) == (4, 5)
    assert two.speedup is not None and two.speedup.n == 4


def test_runs_without_enough_common_repeats_are_independent_samples() -> None:
    runs = study(repeats=6, frameworks=["torch"], world_sizes=[1], **ONE)["runs"]
    assert ratio(runs[:4], runs[1:]).n == 3  # repeats 1 to 3 are pairs
    assert ratio(runs[:3], runs[3:]).n == 3
    assert ratio(runs[:2], runs[1:3]).error is None


def test_where_processes_were_not_renewed_intervals_allow_for_them() -> None:
    renewed, kept = (study(repeats=5, noise=0.0, group_runs=runs, **ONE) for runs in (1, None))
    for made, groups, narrowest in ((renewed, 5, 1.0), (kept, 0, math.exp(1.96 * PROCESS_SD))):
        for cell in cells(made):
            assert cell.groups == groups
            assert cell.throughput is not None and cell.throughput.high is not None
            assert cell.throughput.high / cell.throughput.value > narrowest - 1e-4


def test_two_environments_of_one_framework_have_a_baseline_each() -> None:
    made = study(repeats=3, frameworks=["torch"], **ONE)
    for run in made["runs"]:
        run["series"] = "plain"
    quick = [
        {**run, "series": "quick", "cell": run["cell"] + "q", SPEED: 2 * run[SPEED]}
        for run in made["runs"]
    ]
    both = cells({**made, "runs": [*made["runs"], *quick]})
    plain, other = (cell for cell in both if cell.world_size == 2)
    assert plain.speedup is not None and other.speedup is not None
    assert plain.speedup.value == pytest.approx(other.speedup.value)
    # Recorded without a series nothing tells which is meant, and none is taken.
    for run in (*made["runs"], *quick):
        del run["series"]
    unknown = cells({**made, "runs": [*made["runs"], *quick]})
    assert [cell.speedup for cell in unknown if cell.world_size == 2] == [None, None]


def test_a_cell_that_is_not_ranked_is_a_baseline_of_none() -> None:
    bad = where(framework="torch", world_size=1, repeat=(0, 1, 2))
    two = cell_of(cells(study(repeats=5, **ONE, noisy=bad)), "torch", 2)
    assert (two.speedup, two.baseline) == (None, None)


@pytest.mark.parametrize(
    ("times", "value"), [([1.0, 2.0, None], 2.0), ([1.0, None, None], None), ([None] * 3, None)]
)
def test_a_run_that_does_not_reach_the_accuracy_is_slower_than_all(
    times: list[Any], value: float | None
) -> None:
    (cell,) = cells(by_hand(time_to_accuracy_s=times))
    found = cell.time_to_accuracy_s
    assert found == (None if value is None else Estimate(value, None, None, 3))


# What doesn't count.


def test_unverified_and_noisy_runs_are_in_no_figure() -> None:
    torch_two = {"framework": "torch", "world_size": 2}
    made = study(
        repeats=5,
        **ONE,
        unverified=where(**torch_two, repeat=1),
        noisy=where(**torch_two, repeat=3),
    )
    cell = cell_of(cells(made), "torch", 2)
    assert [run["repeat"] for run in cell.counted] == [0, 2, 4]
    assert [counts(run) for run in cell.runs] == [True, False, True, False, True]
    assert cell.throughput == mean(sample(cell.counted)).typical
    assert cell.ranked
    assert cell.problems == [
        "repeat 1 is unverified: trajectory (relative error 3.1e-02 at step 4 <of 10>)",
        "repeat 3 does not count: too noisy (other processes kept 1.3 of 2 cores busy)",
    ]


def test_a_cell_is_ranked_if_more_than_half_of_its_repeats_count() -> None:
    def ranked(repeats: int, bad: tuple[int, ...], lost: tuple[int, ...] = ()) -> bool:
        chosen = {"framework": "torch", "world_size": 2}
        made = study(
            repeats=repeats,
            **ONE,
            noisy=where(**chosen, repeat=bad),
            failed=where(**chosen, repeat=lost),
        )
        return cell_of(cells(made), "torch", 2).ranked

    assert ranked(5, (0, 1))
    assert not ranked(5, (0, 1, 2))
    assert not ranked(4, (0, 1))
    assert not ranked(5, (0,), lost=(1, 2))  # a failed repeat is a repeat
    assert ranked(5, (), lost=(1, 2))


def test_failed_repeats_are_told_and_never_a_figure() -> None:
    made = study(repeats=3, **ONE, failed=where(framework="tf", world_size=2, repeat=(0, 2)))
    cell = cell_of(cells(made), "tf", 2)
    assert (cell.failed, len(cell.runs)) == (2, 1)
    assert cell.problems == [
        "repeat 0 failed: worker 0 died: signal 9 <SIGKILL>",
        "repeat 2 failed: worker 0 died: signal 9 <SIGKILL>",
    ]
    assert cell.throughput is not None and cell.throughput.n == 1


def test_a_cell_whose_repeats_all_failed_is_there_without_figures() -> None:
    made = study(repeats=3, failed=where(framework="tf", world_size=2, model="mlp"))
    found = cells(made)
    cell = cell_of(found, "tf", 2, model="mlp", scaling="weak")
    assert cell.label == "tf graph, 2 CPU workers"
    assert (cell.failed, cell.ranked, cell.counted) == (3, False, [])
    assert cell.throughput is cell.speedup is cell.accuracy_mean is cell.spread is None
    # It stands among those that it would have been compared with.
    place = found.index(cell)
    assert {(c.model, c.scaling, c.world_size) for c in found[place - 1 : place + 2]} == {
        ("mlp", "weak", 2)
    }


def test_a_failure_that_was_made_up_for_or_met_twice_is_not_counted_again() -> None:
    made = study(repeats=3, **ONE, failed=where(framework="tf", world_size=2, repeat=1))
    (failure,) = made["failed"]
    again = {**made, "failed": [failure, failure]}
    assert cell_of(cells(again), "tf", 2).failed == 1
    mended = {**study(repeats=3, **ONE), "failed": [failure]}
    cell = cell_of(cells(mended), "tf", 2)
    assert (cell.failed, len(cell.counted), cell.problems) == (0, 3, [])


def test_a_study_that_went_through_json_gives_the_same_cells() -> None:
    made = study(repeats=3)
    assert cells(json.loads(json.dumps(made))) == cells(made)


def test_an_empty_study_has_no_cells() -> None:
    assert cells({**study(repeats=1), "runs": [], "failed": []}) == []


def test_runs_recorded_without_a_precision_are_fp32() -> None:
    made = study(repeats=1, precision="bf16")
    assert {cell.precision for cell in cells(made)} == {"bf16"}
    assert all(cell.label.endswith(", bf16") for cell in cells(made))
    old = study(repeats=1)
    for run in old["runs"]:
        del run["precision"]
    assert {cell.precision for cell in cells(old)} == {"fp32"}
    assert not any("fp32" in cell.label for cell in cells(old))


def test_no_speed_up_is_over_a_run_of_another_precision() -> None:
    made = study(repeats=3, frameworks=("torch",), models=("mlp",), scalings=("weak",))
    for run in made["runs"]:
        run["precision"] = "bf16" if run["world_size"] == 2 else "fp32"
    assert [cell.speedup is None for cell in cells(made)] == [False, True]

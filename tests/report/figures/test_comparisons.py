import re
from typing import Any

import numpy as np
import pytest
from studies import study, together, where

from distlab.measure.statistics import Estimate
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import Comparison, compare, note

ONE: dict[str, Any] = {"models": ("mlp",), "scalings": ("weak",), "world_sizes": (2,)}


def two(
    left: list[float], right: list[float], names: tuple[str, str] = ("torch", "paddle")
) -> Comparison:
    """The comparison of two frameworks with two workers, given their throughputs."""
    made = study(repeats=len(left), frameworks=names, **ONE)
    for run in made["runs"]:
        side = left if run["framework"] == names[0] else right
        run["throughput_samples_per_s"] = side[run["repeat"]]
    (found,) = compare(cells(made))
    return found


def test_a_difference_in_words() -> None:
    found = two([1700.0, 1800.0, 1900.0, 1750.0, 1850.0], [1000.0] * 5)
    assert found.sentence == (
        "torch trains mlp 1.80 times as fast as paddle on 2 CPU workers; 95% CI 1.70 to 1.90"
    )
    assert found.told
    assert (found.faster.framework, found.slower.framework) == ("torch", "paddle")


def test_the_slower_one_comes_second_whatever_their_order() -> None:
    found = two([1000.0] * 5, [1700.0, 1800.0, 1900.0, 1750.0, 1850.0])
    assert found.sentence.startswith("paddle trains mlp 1.80 times as fast as torch")
    assert found.ratio.value == pytest.approx(1.7988, abs=1e-3)
    assert found.ratio.low == pytest.approx(1.7031, abs=1e-3)


def test_no_difference_in_words() -> None:
    found = two([1060.0, 980.0, 1050.0, 1010.0, 1000.0], [1000.0] * 5, ("torch", "tf"))
    assert found.sentence == (
        "no difference can be told between torch and tf training mlp on 2 CPU workers: "
        "ratio 1.02, 95% CI 0.98 to 1.06"
    )
    assert not found.told


@pytest.mark.parametrize("repeats", [1, 2])
def test_too_few_repeats_in_words(repeats: int) -> None:
    found = two([1800.0] * repeats, [1000.0] * repeats)
    assert found.sentence == (
        "too few repeats to tell torch from paddle training mlp on 2 CPU workers: "
        f"ratio 1.80 from {repeats}, and an interval needs 3"
    )
    assert not found.told
    assert found.ratio == Estimate(pytest.approx(1.8), None, None, repeats)


def test_a_told_difference_never_reads_as_if_its_interval_held_1() -> None:
    found = two([1010.0, 1012.0, 1011.0, 1009.0, 1010.5], [1000.0] * 5)
    assert found.told
    assert "1.010 times as fast" in found.sentence
    low = re.search(r"CI ([\d.]+)", found.sentence)
    assert low is not None and float(low.group(1)) > 1.0


def test_repeats_are_paired() -> None:
    drift = [1.0, 0.7, 0.5, 0.4, 0.3]
    found = two([1100 * d for d in drift], [1000 * d for d in drift])
    assert found.told
    assert (found.ratio.low, found.ratio.high) == pytest.approx((1.1, 1.1))


def test_every_pair_of_equal_conditions_is_compared_once() -> None:
    found = compare(cells(study(repeats=3)))
    assert len(found) == 2 * 2 * 2 * 3  # models, scalings, world sizes, pairs
    for pair in found:
        assert pair.faster.comparison_key == pair.slower.comparison_key
        assert pair.faster.world_size == pair.slower.world_size
        assert pair.faster.framework != pair.slower.framework
        assert pair.ratio.value >= 1
    assert len({pair.sentence for pair in found}) == len(found)


def test_only_conditions_that_vary_are_named() -> None:
    (pair, *_) = compare(cells(study(repeats=3, models=("mlp",), scalings=("weak", "strong"))))
    assert "on 1 CPU worker (weak scaling);" in pair.sentence
    (pair, *_) = compare(cells(study(repeats=3, **ONE)))
    assert "(" not in pair.sentence
    runs = [run for b in (64, 256) for run in study(repeats=3, **ONE, batch_size=b)["runs"]]
    (*_, pair) = compare(cells({**study(repeats=3, **ONE), "runs": runs}))
    assert "on 2 CPU workers (batch 256);" in pair.sentence


def test_what_is_not_ranked_is_not_compared() -> None:
    made = study(repeats=5, **ONE, noisy=where(framework="tf", repeat=(0, 1, 2)))
    (pair,) = compare(cells(made))
    assert {pair.faster.framework, pair.slower.framework} == {"torch", "paddle"}
    made = study(repeats=5, **ONE, failed=where(framework="tf"))
    assert len(compare(cells(made))) == 1


def test_executions_and_versions_of_one_framework_are_compared_by_name() -> None:
    runs = []
    for execution, pace in (("eager", 1.0), ("graph", 0.5)):
        for run in study(repeats=3, frameworks=("torch",), **ONE, slower={"torch": pace})["runs"]:
            runs.append({**run, "execution": execution, "cell": execution})
    (pair,) = compare(cells({**study(repeats=3, **ONE), "runs": runs}))
    assert pair.sentence.startswith(
        "torch graph trains mlp 2.000 times as fast as torch eager on 2"
    )
    for run in runs:
        run.update(framework_version="2." + run["execution"][0], execution="eager")
    (pair,) = compare(cells({**study(repeats=3, **ONE), "runs": runs}))
    assert pair.sentence.startswith("torch 2.g trains mlp 2.000 times as fast as torch 2.e on")


def test_a_planted_slow_down_of_ten_percent_is_told_and_none_between_twins() -> None:
    random = np.random.default_rng(0)
    told = twins = 0
    for _ in range(20):
        drift = 0.03 * random.normal(0, 1, 5).cumsum()
        left, right = 1e5 * np.exp(drift + random.normal(0, 0.015, (2, 5)))
        slowed = two(list(left), list(right / 1.1))
        told += slowed.told and slowed.faster.framework == "torch"
        twins += two(list(left), list(right)).told
    assert told == 20
    assert twins <= 1


def test_the_note_says_how_many_pairs_were_compared() -> None:
    said = str(note(compare(cells(study(repeats=3))), looks=2))
    assert said.startswith("24 pairs were compared; intervals are of each by itself.")
    assert "errs in 0.5% of studies in which nothing differs (this is look 2" in said
    assert note(compare(cells(study(repeats=2)))) is None
    assert str(note([two([2.0] * 3, [1.0] * 3)])).startswith("1 pair was compared; ")


def test_a_difference_that_is_sure_by_itself_may_not_be_so_among_many() -> None:
    made = study(repeats=5, **ONE)
    speeds = {
        "torch": [1000.0, 1010.0, 990.0, 1005.0, 995.0],
        "tf": [1000.0, 1004.0, 996.0, 996.0, 1004.0],
        "paddle": [1014.0, 1005.0, 1016.0, 1011.0, 1007.0],
    }
    for run in made["runs"]:
        run["throughput_samples_per_s"] = speeds[run["framework"]][run["repeat"]]
    every = cells(made)
    found = compare(every)[2]
    assert found.ratio.excludes(1.0)
    assert not found.told
    assert found.sentence.startswith("no difference can be told between paddle and tf training mlp")
    assert found.sentence.endswith("by itself, too little among all that is compared")


def test_each_look_at_a_study_costs_certainty() -> None:
    made = study(repeats=5, frameworks=("torch", "tf"), **ONE)
    speeds = {"torch": [1017.0, 1010.0, 1015.0, 1022.0, 1005.0], "tf": [1000.0] * 5}
    for run in made["runs"]:
        run["throughput_samples_per_s"] = speeds[run["framework"]][run["repeat"]]
    # 4.8 standard errors at 4 degrees of freedom: a chance of 0.9 %.
    assert [compare(cells(made), looks)[0].told for looks in (1, 2)] == [True, False]


def test_two_cells_of_one_framework_that_a_report_does_not_tell_apart_are_not_compared() -> None:
    made = study(repeats=3, frameworks=("torch",), **ONE)
    other = [{**run, "cell": "other", "series": "other"} for run in made["runs"]]
    assert compare(cells({**made, "runs": [*made["runs"], *other]})) == []


def test_only_cells_of_one_precision_are_compared_and_it_is_said() -> None:
    rounded = study(frameworks=("torch", "tf"), precision="bf16", random_seed=1, **ONE)
    made = together(study(frameworks=("torch", "tf"), **ONE), rounded)
    found = compare(cells(made))
    assert [pair.faster.precision for pair in found] == ["fp32", "bf16"]
    assert all(pair.faster.precision == pair.slower.precision for pair in found)
    assert ["(fp32)" in pair.sentence for pair in found] == [True, False]
    assert "(bf16)" in found[1].sentence
    (alone,) = compare(cells(rounded))
    assert "(bf16)" in alone.sentence


def test_cells_of_one_key_and_two_precisions_are_not_compared() -> None:
    made = study(frameworks=("torch", "tf"), **ONE)
    for run in made["runs"]:
        run["precision"] = "tf32" if run["framework"] == "tf" else "fp32"
    assert compare(cells(made)) == []


def test_runs_on_other_numbers_of_hosts_are_not_compared() -> None:
    made = study(repeats=5, frameworks=("torch", "paddle"), **ONE)
    assert len(compare(cells(made))) == 1
    for run in filter(where(framework="paddle"), made["runs"]):
        run["stretches"] = [{**run["stretches"][0], "hosts": ["here", "there"]}]
    found = cells(made)
    assert compare(found) == []
    assert [cell.workers for cell in found] == ["2 CPU workers", "2 CPU workers on 2 hosts"]
    for run in made["runs"]:
        run["stretches"] = [{**run["stretches"][0], "hosts": ["here", "there"]}]
    assert len(compare(cells(made))) == 1

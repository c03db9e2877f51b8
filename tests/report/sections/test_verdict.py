from typing import Any

from studies import study, together, where

from distlab.report.figures.cell import Cell
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.figures.groups import Group, groups
from distlab.report.sections import verdict
from distlab.report.sections.main_table import main


def judged(**options: Any) -> tuple[list[verdict.Setting], list[Group], list[Cell]]:
    found = cells(study(**{"models": ["mlp"], "scalings": ["weak"], **options}))
    return verdict.settings(groups(found), compare(found)), groups(found), found


def test_the_fastest_is_named_with_its_lead_and_interval() -> None:
    found, grouped, _ = judged(world_sizes=[1])
    assert (
        verdict.headline(found) == "tf graph is the fastest: 1.46 times the samples/s of the next."
    )
    ((title, text),) = verdict.sentences(found, grouped)
    assert title == "mlp, weak scaling, batch 64 a worker"
    assert text.startswith("On 1 CPU worker tf graph is the fastest, 1.4")
    assert "times as fast as paddle eager, the next (95% CI 1." in text


def test_no_fastest_is_named_where_none_can_be_told() -> None:
    # tf as slow as paddle: 175 / 120.
    found, grouped, every = judged(world_sizes=[1], slower={"tf": 175 / 120})
    assert found[0].fastest is None
    assert {verdict.name(cell) for cell in found[0].leaders} == {"tf graph", "paddle eager"}
    assert verdict.headline(found) == "No fastest framework can be told."
    assert verdict.sentences(found, grouped) == []
    (text,) = verdict.untold(found, every)
    assert "no fastest among" in text
    assert "95% CI 0.9" in text


def test_speed_up_is_told_for_more_than_one_worker() -> None:
    found, grouped, _ = judged()
    ((_, text),) = verdict.sentences(found, grouped)
    assert "Speed-up of 2 workers over 1: 1.1" in text
    assert "with torch eager (95% CI 1.0" in text


def test_a_baseline_on_another_processor_is_told_and_is_none() -> None:
    made = study(frameworks=("torch",), models=("mlp",), scalings=("weak",))
    for run in filter(where(world_size=1), made["runs"]):
        run.update(device_name="abacus", comparison_key="0" * 16)
    every = cells(made)
    text = " ".join(verdict.untold(verdict.settings(groups(every), []), every))
    assert "No speed-up of torch" in text
    assert "(1 worker ran on abacus, not AMD EPYC 7B13)" in text


def test_one_repeat_tells_no_difference() -> None:
    found, _, every = judged(repeats=1)
    assert [setting.fastest for setting in found] == [None, None]
    assert any("Every cell has fewer than 3 runs" in text for text in verdict.untold(found, every))
    assert "1 run, no interval" in verdict.untold(found, every)[0]


def test_a_framework_alone_is_not_called_the_fastest() -> None:
    found, _, _ = judged(frameworks=["torch"])
    assert "none is compared" in verdict.headline(found)


def test_unverified_frameworks_win_nothing_and_are_named() -> None:
    found, _, every = judged(world_sizes=[1], unverified=where(framework="tf"))
    assert found[0].fastest is not None
    assert verdict.name(found[0].fastest) == "paddle eager"
    (text,) = verdict.untold(found, every)
    assert text.startswith("tf graph, 1 CPU worker")
    assert "none of 5 runs counts" in text


def test_without_any_run_that_counts_nothing_is_ranked() -> None:
    found, _, every = judged(scalings=["weak", "strong"], unverified=lambda run: True)
    assert "nothing is ranked" in verdict.headline(found)
    (text,) = verdict.untold(found, every)
    assert text.startswith("12 of 12 cells are not ranked: none of 60 runs counts: 60 unverified")


def test_a_setting_of_which_nothing_can_be_told_says_why() -> None:
    found, _, every = judged(oversubscribed=where(world_size=2))
    text, *others = verdict.untold(found, every)
    assert text == (
        "mlp on 2 CPU workers (weak scaling, batch 64 a worker): nothing can be told, for none "
        "of 15 runs counts: 15 oversubscribed (4 threads on 2 cores of here)."
    )
    assert others == []
    assert verdict.headline(found).startswith("tf graph is the fastest: 1.4")


def test_a_cell_whose_runs_have_caveats_names_them_with_what_was_found_of_all() -> None:
    torch = {"framework": "torch"}
    found, _, every = judged(
        world_sizes=[1],
        oversubscribed=where(**torch, repeat=(0, 1)),
        noisy=where(**torch, repeat=(0, 4)),
    )
    (text,) = verdict.untold(found, every)
    assert text.endswith(
        "is not ranked: only 2 of 5 runs count: 2 oversubscribed (4 threads on 2 cores of here), "
        "2 too noisy (other processes kept 1.3 of 2 cores busy)."
    )


def test_the_headline_says_why_nothing_is_ranked() -> None:
    found, _, every = judged(world_sizes=[2], repeats=3, oversubscribed=lambda run: True)
    assert verdict.headline(found, every) == (
        "No cell has enough runs that count, so nothing is ranked: none of 9 runs counts: 9 "
        "oversubscribed (4 threads on 2 cores of here)."
    )


def test_a_missing_baseline_is_said() -> None:
    found, _, every = judged(world_sizes=[2], baselines="nowhere")
    assert any("no verified run with 1 worker" in text for text in verdict.untold(found, every))


def test_each_precision_is_a_setting_of_its_own() -> None:
    one = {"models": ("mlp",), "scalings": ("weak",), "world_sizes": (1,)}
    made = together(study(**one), study(precision="bf16", random_seed=1, **one))
    found = groups(cells(made))
    told = verdict.settings(found, compare(cells(made)))
    assert [{cell.precision for cell in setting.cells} for setting in told] == [{"fp32"}, {"bf16"}]
    assert told[1].name.endswith("(weak scaling, batch 64 a worker, bf16)")


def test_processes_that_were_not_renewed_are_said_and_cost_small_differences() -> None:
    renewed, _, _ = judged(world_sizes=[1], slower={"tf": 1.4})
    kept, _, every = judged(world_sizes=[1], slower={"tf": 1.4}, group_runs=None)
    assert renewed[0].fastest is not None and verdict.name(renewed[0].fastest) == "tf graph"
    assert kept[0].fastest is None
    (said,) = [text for text in verdict.untold(kept, every) if "worker processes" in text]
    assert said.startswith("No cell's repeats ran in 3 or more groups of worker processes")
    assert said.count("beyond about 1.07 to be told") == 1


def test_a_speed_up_over_another_study_says_so() -> None:
    found, grouped, _ = judged(world_sizes=[2], baselines="store")
    ((_, text),) = verdict.sentences(found, grouped)
    assert "with torch eager over another study (95% CI" in text
    shown = main(grouped[0], []).rows[0]
    assert shown[4].detail.endswith("\nover another study")


def test_more_workers_that_reach_the_target_later_are_told_beside_their_speed_up() -> None:
    told = study(models=["mlp"], scalings=["weak"], frameworks=["torch"], repeats=3)
    for run in told["runs"]:
        run["time_to_accuracy_s"] = 0.86 if run["world_size"] == 1 else 0.96
    found = cells(told)
    grouped = groups(found)
    ((_, text),) = verdict.sentences(verdict.settings(grouped, compare(found)), grouped)
    assert "torch eager took 0.96 s on 2 CPU workers, 0.86 s on 1" in text
    assert "steps are fewer and of larger batches" in text

import math
from typing import Any

from studies import study

from distlab.report.figures.cells import cells
from distlab.report.sections.machine import untold


def told(change: Any, **values: Any) -> list[str]:
    """What is said of a study of one worker, each of whose runs is changed."""
    given = study(models=["mlp"], scalings=["weak"], world_sizes=[1], **values)
    for run in given["runs"]:
        change(run)
    return untold(cells(given))


def quiet(run: dict[str, Any]) -> None:
    run["throughput_samples_per_s"] = 1000.0
    run["load"] = {"cores": 2, "own_cores": 1.0, "other_cores": 0.9, "steal": 0.0}


def test_of_a_quiet_machine_nothing_is_said() -> None:
    assert told(quiet) == []


def test_a_drift_is_said() -> None:
    def slower(run: dict[str, Any]) -> None:
        quiet(run)
        run["throughput_samples_per_s"] *= math.exp(-0.02 * run["repeat"])

    (said,) = told(slower)
    assert said.startswith("The machine became 7.7% slower from the first repeat to the last")


def test_what_others_may_have_cost_is_said() -> None:
    def busy(run: dict[str, Any]) -> None:
        quiet(run)
        if run["repeat"] == 1:
            run["load"]["other_cores"] = 1.2

    (said,) = told(busy)
    assert "0.20 of the workers' 1 core busy, which may be up to 20% of a run's speed" in said


def test_windows_that_are_too_short_to_judge_are_said() -> None:
    def short(run: dict[str, Any]) -> None:
        quiet(run)
        run["load"]["uncertain_cores"] = 0.4 if run["framework"] == "torch" else 0.1

    (said,) = told(short)
    assert "5 of 15 runs" in said


def test_caveats_of_runs_that_count_are_said_and_explained() -> None:
    def unlike(run: dict[str, Any]) -> None:
        quiet(run)
        if run["framework"] == "torch":
            detail = f"4 cores on a, {run['repeat'] % 2 + 1} cores on b"
            run["caveats"] = [{"code": "unlike_hosts", "detail": detail}]

    (said,) = told(unlike)
    assert said == (
        "5 of 15 runs that count: unlike hosts (4 cores on a, 1 cores on b; 4 cores on a, 2 cores "
        "on b). The run's hosts differ, and the slowest of them sets the pace."
    )

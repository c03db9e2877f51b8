from typing import Any

import pytest
from plotted import one_group

from distlab.report.sections.what_if.job_time import JobTime, job_time, table, tables


def test_a_job_is_its_start_its_compilation_and_its_epochs() -> None:
    group, _, (cell,) = one_group(world_sizes=[1], frameworks=["torch"], repeats=1)
    (run,) = cell.runs
    time = job_time(cell)
    assert time is not None
    assert time.start + time.compile == pytest.approx(run["startup_s"])
    # The measured job is told as it was.
    assert time.seconds(run["epochs"]) == pytest.approx(run["wall_s"])
    shown = table(group)
    assert shown is not None
    assert [value.text.startswith("~") for value in shown.rows[0][2:]] == [False, False, True, True]


def test_an_epoch_inside_which_a_run_ended_counts_by_its_part() -> None:
    _, _, (cell,) = one_group(world_sizes=[1], frameworks=["torch"], repeats=1)
    (run,) = cell.runs
    half = run["steps_per_epoch"] / 2
    run.update(stopped="steps", steps=half, epoch_time_s=[0.5])
    run["wall_s"] = run["startup_s"] + 0.5 + 1
    part = job_time(cell)
    assert part is not None
    assert (part.measured, part.rest) == (0.5, pytest.approx(2.0))
    assert part.far(6) and not part.far(5)


def test_other_samples_change_the_training_alone_and_far_ones_are_marked() -> None:
    time = JobTime(start=5.0, compile=1.0, training=10.0, rest=2.0, samples=1_000, measured=2)
    assert time.seconds(3) == 5 + 1 + 3 * 12
    assert time.seconds(3, samples=500) == 5 + 1 + 3 * 7
    assert [time.far(n) for n in (20, 21)] == [False, True]
    assert [time.far(2, samples=n) for n in (99, 100, 10_000, 10_001)] == [True, False, False, True]


@pytest.mark.parametrize("unknown", ["startup_s", "compile_s"])
def test_a_job_of_unknown_parts_is_not_told(unknown: str) -> None:
    values: dict[str, Any] = {unknown: None}
    group, _, _ = one_group(world_sizes=[1], frameworks=["torch"], repeats=1, values=values)
    assert tables([group]) == []

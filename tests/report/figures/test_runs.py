"""Figures of runs that ended inside an epoch are of the steps that they took."""

import pytest
from summaries import summary

from distlab.report.figures.cells import cells
from distlab.report.figures.runs import course, epoch_times, mean_epoch
from distlab.report.sections.conditions import conditions

PART = {"epoch_time_s": [31.0, 10.0], "steps": 41, "steps_per_epoch": 31}


def test_an_epoch_is_taken_as_whole_where_the_run_ended_inside_it() -> None:
    stopped = summary(**PART, stopped="steps")
    assert epoch_times(stopped) == pytest.approx([31.0, 31.0])
    assert mean_epoch(stopped) == pytest.approx(31.0)


def test_whole_runs_and_those_of_before_have_the_mean_of_their_epochs() -> None:
    whole = summary(epoch_time_s=[2.0, 4.0])
    before = {name: value for name, value in whole.items() if name not in ("steps", "stopped")}
    for one in (whole, before):
        assert mean_epoch(one) == 3.0 and epoch_times(one) == [2.0, 4.0]


def test_the_course_of_a_run_has_its_evaluations_or_its_epochs() -> None:
    points = [
        {"step": step, "seconds": seconds, "test_accuracy": share, "test_loss": 1.0}
        for step, seconds, share in ((10, 1.0, 0.3), (31, 3.0, 0.5))
    ]
    assert course(summary(evaluations=points)) == ([1.0, 3.0], [0.3, 0.5])
    one = summary(epoch_time_s=[2.0, 4.0], test_accuracy=[0.3, 0.5])
    assert course(one) == ([2.0, 6.0], [0.3, 0.5])


def test_how_finely_the_time_to_the_target_is_known_is_told_of_evaluations_inside() -> None:
    points = [{"step": 10, "seconds": 1.0, "test_accuracy": 0.99, "test_loss": 1.0}]
    reached = {"time_to_accuracy_s": 1.0, "time_to_accuracy_resolution_s": 0.25, "cell": "a"}
    (inside,) = cells({"runs": [summary(**reached, evaluations=points)]})
    (after,) = cells({"runs": [summary(**reached)]})
    assert (inside.resolution_s, after.resolution_s) == (0.25, None)


def test_what_was_to_end_a_run_is_among_the_conditions() -> None:
    options = {"stop.at_target": "True", "stop.seconds": "None", "stop.steps": "500"}
    one = summary(cell="a", options={**summary()["options"], **options}, target_accuracy=0.9)
    study = {"study": "a", "runs": [one], "failed": []}
    told = {
        name: value for facts in conditions(study, cells(study)).values() for name, value in facts
    }
    assert told["epochs"] == "at most 2 (until 90.0% or 500 steps)"

import shlex
from typing import Any

from studies import study, where

from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.figures.groups import groups
from distlab.report.sections.next_step import NextStep, again, next_step
from distlab.report.sections.verdict import settings

EQUAL = {"tf": 175 / 120}
"""As slow as paddle, on one worker."""


def advised(**options: Any) -> tuple[NextStep, dict[str, Any]]:
    told = study(models=["mlp"], scalings=["weak"], world_sizes=[1], **options)
    found = cells(told)
    step = next_step(told, settings(groups(found), compare(found)), found)
    assert step is not None
    return step, told


def test_one_run_is_advised_five_repeats_and_their_minutes() -> None:
    step, told = advised(repeats=1)
    wall = sum(run["wall_s"] for run in told["runs"])
    minutes = -(-4 * wall // 60)
    assert step.words == (
        "To tell any difference, 5 repeats of each in all: "
        f"about {minutes:.0f} minute{'s' * (minutes > 1)} more."
    )
    assert step.command is not None
    assert shlex.split(step.command) == [
        *("python", "-m", "distlab.launch", f"study={told['study']}", "repeats=5"),
        "tracking.uri=sqlite:////there/mlflow.db",
    ]


def test_what_is_told_needs_nothing_more() -> None:
    step, _ = advised()
    assert step.command is None
    assert "is settled" in step.words


def test_a_small_difference_is_advised_as_many_repeats_as_would_tell_it() -> None:
    step, _ = advised(slower={"tf": 175 / 120 * 1.015}, noise=0.02, repeats=5)
    assert step.command is not None
    assert step.words.startswith("To settle what could not be told, ")
    (repeats,) = (w for w in shlex.split(step.command) if w.startswith("repeats="))
    assert 5 < int(repeats.removeprefix("repeats=")) <= 60


def test_equals_are_said_to_be_too_close() -> None:
    told = study(models=["mlp"], scalings=["weak"], world_sizes=[1], slower=EQUAL, noise=0.002)
    for run in told["runs"]:
        if run["framework"] in ("tf", "paddle"):
            # One is ahead in every other repeat, by as much.
            ahead = (run["framework"] == "tf") == (run["repeat"] % 2 == 0)
            run["throughput_samples_per_s"] = 1.2e5 * (1.01 if ahead else 1.0)
    found = cells(told)
    step = next_step(told, settings(groups(found), compare(found)), found)
    assert step is not None and step.command is None
    assert "too small for this machine" in step.words


def test_the_command_keeps_where_the_study_is_and_its_data_but_no_masked_address() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=1)
    told["command"] = (
        "python -m distlab.launch -m framework=torch,tf 'data.dir=/my data' gpus=1,2 "
        "tracking.experiment=mine tracking.uri=http://bob:***@host"
    )
    told["tracking_uri"] = "http://bob:***@host"
    assert shlex.split(again(told, "repeats=7"))[3:] == [
        f"study={told['study']}",
        "repeats=7",
        "data.dir=/my data",
        "tracking.experiment=mine",
    ]


def test_the_command_names_an_experiment_that_the_environment_named() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=1)
    for run in told["runs"]:
        run["mlflow"]["experiment"] = "mine"
    assert shlex.split(again(told))[-1] == "tracking.experiment=mine"


def test_a_study_without_a_run_has_no_next_step() -> None:
    told = study(models=["mlp"], failed=lambda run: True, repeats=1)
    assert next_step(told, [], cells(told)) is None


def test_more_repeats_of_what_is_never_ranked_are_not_advised() -> None:
    step, _ = advised(repeats=1, oversubscribed=lambda run: True)
    assert step.command is None
    assert step.words.startswith("No run counts: 3 oversubscribed (4 threads on 2 cores of here)")
    # Noise passes.
    step, _ = advised(repeats=1, noisy=lambda run: True)
    assert step.command is not None


def test_what_is_settled_leaves_out_what_noise_spoiled() -> None:
    step, _ = advised(noisy=where(framework="torch"))
    assert step.command is None
    assert step.words.startswith("Who is fastest of what is ranked is settled, but 1 cell is not")
    step, _ = advised(oversubscribed=where(framework="torch"))
    assert step.words.startswith("Who is fastest is settled")


def test_of_one_framework_no_fastest_is_called_settled() -> None:
    step, _ = advised(frameworks=["torch"])
    assert step.command is None
    assert "settled" not in step.words
    assert step.words.endswith("Who is fastest is for a study of several frameworks.")

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.tracking.pages.views import TAG
from distlab.tracking.run_writer import Part
from distlab.tracking.study_writer import NOTE_LENGTH, StudyTracker, add_scaling, log_report


def test_a_study_is_a_run_with_its_plan_and_environment(begin: Any, client: MlflowClient) -> None:
    tracker = begin(name="study of mlp", experiment="classroom_mlp")
    run = client.get_run(tracker.study)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "study of mlp"
    assert run.data.tags["kind"] == "study"
    assert (run.data.tags["command"], run.data.tags["experiment"]) == ("a b", "classroom_mlp")
    assert run.data.tags["distlab_version"] and run.data.tags["mlflow.user"]
    assert tracker.plan() == [{"epochs": 3}, {"epochs": 4}]
    names = {item.path for item in client.list_artifacts(tracker.study)}
    assert names == {"plan.json", "environment.json"}


def test_a_plan_may_grow(begin: Any) -> None:
    tracker = begin()
    tracker.record_plan([{"epochs": 5}])
    assert tracker.plan() == [{"epochs": 5}]


def test_sittings_add_up(begin: Any, options: TrackingOptions, tmp_path: Path, client: Any) -> None:
    first = begin()
    first.finish("KILLED", 10.0)
    second = StudyTracker.resume(options, tmp_path, first.study[:12])
    assert second.study == first.study
    second.go_on()
    assert client.get_run(first.study).info.status == "RUNNING"
    second.finish("FINISHED", 5.5)
    run = client.get_run(first.study)
    assert run.info.status == "FINISHED" and run.info.end_time
    assert second.load()["wall_s"] == 15.5


def test_only_the_studys_own_broken_runs_are_cleared_away(
    begin: Any, options: TrackingOptions, tmp_path: Path, client: MlflowClient
) -> None:
    one, other = begin(), begin()
    experiment = client.get_run(one.study).info.experiment_id
    mine, others = (
        client.create_run(experiment, tags=Part(tracker.study, "c", 0).tags()).info.run_id
        for tracker in (one, other)
    )
    StudyTracker.resume(options, tmp_path, one.study).go_on()
    assert client.get_run(mine).info.status == "KILLED"
    assert client.get_run(others).info.status == "RUNNING"
    assert client.get_run(other.study).info.status == "RUNNING"


def test_a_study_that_is_not_there_cannot_be_taken_up(
    options: TrackingOptions, tmp_path: Path, begin: Any
) -> None:
    begin()
    with pytest.raises(DistlabError, match="study=nonsense"):
        StudyTracker.resume(options, tmp_path, "nonsense")


def test_a_failure_without_a_run_gets_one_and_a_second_is_not_recorded_twice(
    begin: Any, client: MlflowClient
) -> None:
    tracker = begin()
    part = Part(tracker.study, "c", 1, name="torch mlp")
    for _ in range(2):
        tracker.failed(part, {"framework.name": "torch"}, "x" * 5000)
    experiment = client.get_run(tracker.study).info.experiment_id
    (run,) = client.search_runs([experiment], "tags.repeat = '1'")
    assert run.info.status == "FAILED" and run.info.run_name == "torch mlp"
    assert run.data.tags["mlflow.parentRunId"] == tracker.study
    assert run.data.params == {"framework.name": "torch"}
    assert run.data.tags["error"] == "x" * 4000
    tracker.failed(Part(tracker.study, "c", 2), {}, "another")
    assert len(tracker.load()["failed"]) == 2


def test_baselines_add_up(begin: Any, record: Any) -> None:
    tracker = begin()
    one, two = record(None), record(None)
    for run in (one, two, one):
        tracker.baselines([run["mlflow"]["run_id"]])
    assert len(tracker.load()["baselines"]) == 2


def test_the_report_goes_to_the_studys_page(
    begin: Any, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = begin()
    folder = tmp_path / "any name"
    (folder / "plots").mkdir(parents=True)
    (folder / "report.html").write_text("<p>")
    (folder / "plots" / "one.svg").write_text("<svg>")
    figures = [
        ("throughput/mlp/torch", 1000.0, 1),
        ("throughput/mlp/torch", 1500.0, 2),
        ("throughput/mlp/tf", 900.0, 1),
        ("throughput/mlp/tf_low", 800.0, 1),
        ("throughput/mlp/tf_high", 1000.0, 1),
        ("throughput/lenet5/torch", 90.0, 1),
    ]
    log_report(tracker.load(), folder, "n" * (NOTE_LENGTH + 1), tracker.out, figures)
    tracker.out.flush()
    run = client.get_run(tracker.study)
    assert len(run.data.tags["mlflow.note.content"]) == NOTE_LENGTH
    history = client.get_metric_history(tracker.study, "throughput/mlp/torch")
    assert [(one.step, one.value) for one in history] == [(1, 1000.0), (2, 1500.0)]
    assert run.data.metrics["throughput/mlp/tf_low"] == 800.0
    assert {item.path for item in client.list_artifacts(tracker.study, "report")} == {
        "report/report.html",
        "report/plots",
    }
    tags = client.get_experiment(run.info.experiment_id).tags
    state = json.loads(json.loads(tags[f"{TAG}{tracker.study}-scaling"])["state"])
    assert [chart["selectedMetricKeys"] for chart in state["compareRunCharts"]] == [
        ["throughput/mlp/torch", "throughput/mlp/tf"],
        ["throughput/lenet5/torch"],
    ]


def test_scaling_goes_to_the_runs_that_have_ended(
    begin: Any, record: Any, client: MlflowClient
) -> None:
    one, two, alone = record(None), record(None, world_size=2), record(None)
    for run in (one, alone):
        run.pop("speedup", None)
        run.pop("baseline_run_id", None)
    baseline = one["mlflow"]["run_id"]
    one |= {"speedup": 1.0, "scaling_efficiency": 1.0, "baseline_run_id": baseline}
    two |= {"speedup": 1.5, "scaling_efficiency": 0.75, "baseline_run_id": baseline}
    out = begin().out
    add_scaling([one, two, alone], out)
    out.flush()
    found = client.get_run(two["mlflow"]["run_id"])
    assert found.data.metrics["speedup"] == 1.5
    assert found.data.metrics["scaling_efficiency"] == 0.75
    assert found.data.tags["baseline_run_id"] == baseline
    assert found.info.status == "FINISHED"
    for run in (one, alone):
        assert "speedup" not in client.get_run(run["mlflow"]["run_id"]).data.metrics

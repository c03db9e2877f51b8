import json
from typing import Any

import pytest
from mlflow import MlflowClient

from distlab.tracking.pages import views


@pytest.fixture
def state(begin: Any, client: MlflowClient) -> Any:
    """The state of a study's view, and the study's id."""
    study = begin("study of mlp").study
    experiment = client.get_run(study).info.experiment_id
    for name, value in views.tags(study, "study of mlp", [["a/x", "a/y"], ["b/x"]]).items():
        client.set_experiment_tag(experiment, name, value)

    def found(key: str = "") -> tuple[dict[str, Any], dict[str, Any], str]:
        tags = client.get_experiment(experiment).tags
        view = json.loads(tags[f"mlflow.sharedViewState.{study}{key}"])
        return view, json.loads(view["state"]), study

    return found


def test_the_runs_of_the_study_and_no_others_are_shown(state: Any, client: MlflowClient) -> None:
    view, runs, study = state()
    assert view["name"] == "study of mlp: runs"
    experiment = client.get_run(study).info.experiment_id
    tags = {"mlflow.parentRunId": study}
    child = client.create_run(experiment, tags=tags)
    client.create_run(experiment, tags={"mlflow.parentRunId": "another"})
    (found,) = client.search_runs([experiment], runs["searchFilter"])
    assert found.info.run_id == child.info.run_id
    assert not runs["orderByAsc"]
    assert client.search_runs([experiment], order_by=[f"{runs['orderByKey']} DESC"])


def test_means_are_of_runs_that_count_by_what_makes_up_a_cell(
    state: Any, client: MlflowClient
) -> None:
    _, means, study = state("-means")
    experiment = client.get_run(study).info.experiment_id
    counted = {"mlflow.parentRunId": study, "verified": "true", "caveats": "unlike_hosts"}
    wrong = ({"verified": "false"}, {"not_ranked": "oversubscribed"}, {"too_noisy": "others"})
    for tags in ({}, *wrong):
        client.create_run(experiment, tags={**counted, **tags})
    (found,) = client.search_runs([experiment], means["searchFilter"])
    assert found.data.tags.items() >= counted.items()
    assert not found.data.tags.keys() & {"not_ranked", "too_noisy"}
    keys = [key["groupByData"] for key in means["groupBy"]["groupByKeys"]]
    assert {"framework", "execution", "precision", "model", "scaling", "world_size"} == set(keys)


def test_charts_show_metrics_that_runs_have(state: Any) -> None:
    _, runs, _ = state()
    metrics = {chart["metricKey"] for chart in runs["compareRunCharts"] if "metricKey" in chart}
    assert {"throughput", "scaling_efficiency", "train_loss", "time_to_accuracy_s"} <= metrics
    numbers = [chart["uuid"] for chart in runs["compareRunCharts"]]
    assert len(set(numbers)) == len(numbers)
    sections = {section["uuid"] for section in runs["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in runs["compareRunCharts"]} <= sections


def test_scaling_is_a_chart_for_each_setting(state: Any, client: MlflowClient) -> None:
    _, scaling, study = state("-scaling")
    experiment = client.get_run(study).info.experiment_id
    (found,) = client.search_runs([experiment], scaling["searchFilter"])
    assert found.info.run_id == study
    shown = [chart["selectedMetricKeys"] for chart in scaling["compareRunCharts"]]
    assert shown == [["a/x", "a/y"], ["b/x"]]


def test_the_address_opens_the_first_view(state: Any) -> None:
    _, _, study = state()
    address = views.address("http://here:5000", "7", study)
    assert address.startswith("http://here:5000/#/experiments/7/runs?")
    assert f"viewStateShareKey={study}" in address

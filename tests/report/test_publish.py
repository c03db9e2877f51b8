import re
from pathlib import Path
from typing import Any

import pytest
import studies
from mlflow import MlflowClient

from distlab.experiment.options import TrackingOptions
from distlab.report.figures.cells import cells
from distlab.report.publish import figures, publish
from distlab.tracking import study_writer
from distlab.tracking.sending.outbox import Outbox

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(study_store: str) -> MlflowClient:
    return MlflowClient(study_store)


@pytest.fixture(scope="module")
def study(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A study whose runs and whose own run are in a store."""
    artifacts = tmp_path_factory.mktemp("artifacts").as_uri()
    experiment = client.create_experiment("published", artifacts)
    data = studies.study(models=["mlp"], scalings=["weak"], frameworks=["torch", "tf"], repeats=3)
    ids = {}
    for run in data["runs"]:
        new = client.create_run(experiment)
        client.set_terminated(new.info.run_id)
        ids[run["mlflow"]["run_id"]] = new.info.run_id
        run["mlflow"] = {"tracking_uri": client.tracking_uri, "run_id": new.info.run_id}
    for run in data["runs"]:
        if "baseline_run_id" in run:
            run["baseline_run_id"] = ids[run["baseline_run_id"]]
    parent = client.create_run(experiment).info.run_id
    return {
        **data,
        "study": parent,
        "tracking_uri": client.tracking_uri,
        "experiment_id": experiment,
    }


def page_of(study: dict[str, Any]) -> Outbox:
    options = TrackingOptions(study["tracking_uri"], "published")
    return study_writer.page(options, Path(), study["study"], print)


@pytest.fixture(scope="module")
def page(study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = page_of(study)
    page = publish(study, tmp_path_factory.mktemp("report"), out)
    out.close()
    return page


def test_the_report_is_written_and_is_an_artifact_of_the_study(
    study: dict[str, Any], page: Path, client: MlflowClient
) -> None:
    assert page.name == "report.html" and page.is_file()
    names = {item.path for item in client.list_artifacts(study["study"], "report")}
    assert names == {f"report/{path.name}" for path in page.parent.iterdir()}
    assert "report/report.html" in names


def test_the_note_points_at_what_is_there(
    study: dict[str, Any], page: Path, client: MlflowClient
) -> None:
    note = client.get_run(study["study"]).data.tags["mlflow.note.content"]
    plots = re.findall(r"get-artifact\?path=report/(plots/\S+?)&run_uuid=(\w+)", note)
    assert plots
    for path, run in plots:
        assert (page.parent / path).is_file() and path.endswith(".png")
        assert run == study["study"]
    place = f"#/experiments/{study['experiment_id']}/runs/{study['study']}/artifacts/report/"
    assert f"{place}report.html" in note
    assert "torch" in note and "tf" in note


def test_each_cells_median_is_a_metric_by_number_of_workers(
    study: dict[str, Any], page: Path, client: MlflowClient
) -> None:
    for cell in cells(study):
        name = f"throughput/mlp-weak-64/{cell.framework}-{cell.execution}"
        history = client.get_metric_history(study["study"], name)
        assert cell.throughput is not None
        assert {metric.step: metric.value for metric in history}[cell.world_size] == pytest.approx(
            cell.throughput.value
        )
    metrics = client.get_run(study["study"]).data.metrics
    assert "scaling_efficiency/mlp-weak-64/torch-eager" in metrics


def test_cells_that_differ_have_figures_of_their_own() -> None:
    data = studies.together(studies.study(repeats=3), studies.study(repeats=3, precision="bf16"))
    found = figures(data)
    assert any(name == "throughput/mlp-weak-64-bf16/torch-eager" for name, _, _ in found)
    places = [(name, step) for name, _, step in found]
    assert len(set(places)) == len(places)


def test_the_ends_of_intervals_are_figures_beside_their_means() -> None:
    found = {(name, step): value for name, value, step in figures(studies.study(models=["mlp"]))}
    for name, size in (("throughput", 1), ("scaling_efficiency", 2), ("communication_share", 2)):
        where = f"{name}/mlp-weak-64/torch-eager"
        low, value, high = (found[where + end, size] for end in ("_low", "", "_high"))
        assert (low <= value <= high and low < high) or name == "communication_share"
    once = {name for name, _, _ in figures(studies.study(models=["mlp"], repeats=1))}
    assert once and not any(name.endswith(("_low", "_high")) for name in once)


def test_a_cell_without_a_counted_run_has_no_figures() -> None:
    data = studies.study(
        models=["mlp"],
        scalings=["weak"],
        repeats=3,
        unverified=studies.where(framework="torch"),
    )
    names = {name for name, _, _ in figures(data)}
    assert names and not any("torch" in name for name in names)


def test_runs_that_are_measured_against_another_get_their_speed_up(
    study: dict[str, Any], page: Path, client: MlflowClient
) -> None:
    for run in study["runs"]:
        found = client.get_run(run["mlflow"]["run_id"]).data
        if run["world_size"] == 1:
            assert "speedup" not in found.metrics
        else:
            assert found.metrics["speedup"] == pytest.approx(run["speedup"])
            assert found.tags["baseline_run_id"] == run["baseline_run_id"]


def test_publishing_again_replaces_the_page(
    study: dict[str, Any], page: Path, client: MlflowClient, tmp_path: Path
) -> None:
    out = page_of(study)
    publish(study, tmp_path / "again", out)
    out.close()
    views = [
        tag for tag in client.get_experiment(study["experiment_id"]).tags if study["study"] in tag
    ]
    assert len(views) == 3

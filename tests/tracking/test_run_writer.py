from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow import MlflowClient
from thread_backend import train

from distlab.data.dataset import Dataset
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import TrackingOptions, flat
from distlab.fairness import checks, reference
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised
from distlab.tracking.predictor import Predictor
from distlab.tracking.run_writer import Tracker
from distlab.tracking.sqlite import default_uri

Track = Callable[..., Tracker]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture(scope="module")
def client(folder: Path) -> MlflowClient:
    """Reads the store behind the tracker's back."""
    Tracker(TrackingOptions(system_metrics=False), "first", folder).__exit__(None, None, None)
    return MlflowClient(default_uri(folder))


@pytest.fixture(scope="module")
def record(
    experiment: Callable[..., Experiment], dataset: Dataset, thread_framework: Any
) -> Record:
    one = experiment("batch_size=31", "epochs=3", "target_accuracy=1")
    record = Record(one, dataset, 0.0)
    for event in train(one, dataset):
        record.add(event)
    return record


def test_a_run_that_ends_in_order_is_finished(tracker: Track, client: MlflowClient) -> None:
    with tracker() as one:
        assert client.get_run(one.run_id).info.status == "RUNNING"
    run = client.get_run(one.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert run.info.run_name == "a run"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(1), "KILLED"),
        (RuntimeError("a worker died"), "FAILED"),
        (DistlabError("a", "b", "c"), "FAILED"),
    ],
)
def test_a_run_that_is_broken_off_says_so(
    tracker: Track, client: MlflowClient, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), tracker() as one:
        raise error
    run = client.get_run(one.run_id)
    assert run.info.status == status
    assert run.info.end_time
    if status == "FAILED":
        assert run.data.tags["error"] == str(error)


def test_parameters_tags_and_data(tracker: Track, client: MlflowClient, record: Record) -> None:
    values = flat(record.experiment.options)
    with tracker() as one:
        one.begin(record, values, "python -m distlab.launch epochs=3")
    run = client.get_run(one.run_id)
    assert run.data.params == {name: str(value) for name, value in values.items()}
    assert run.data.params["epochs"] == "3" and run.data.params["model.name"] == "mlp"
    assert run.data.tags["framework"] == "torch"
    assert run.data.tags["distlab_version"]
    assert run.data.tags["mlflow.source.name"] == "distlab.launch"
    assert run.data.tags["command"] == "python -m distlab.launch epochs=3"
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("noise", "0" * 36)


def summarized(record: Record, **failed: str) -> dict[str, Any]:
    results = {name: asdict(check) for name, check in checks.run_all(record).items()}
    results |= {name: {"passed": False, "detail": detail} for name, detail in failed.items()}
    verified = all(check["passed"] for check in results.values())
    return {**summarised(record), "verified": verified, "checks": results}


def tracked(one: Tracker, record: Record, folder: Path) -> dict[str, Any]:
    summary = summarized(record)
    for epoch in record.epochs:
        one.epoch(epoch)
    one.finish(summary)
    one.model(record, folder)
    return summary


def test_metrics_have_a_history_by_epoch_and_figures_by_run(
    tracker: Track, client: MlflowClient, record: Record, tmp_path: Path
) -> None:
    with tracker(log_model=False) as one:
        summary = tracked(one, record, tmp_path)
    for name, values in (
        ("train_loss", summary["train_loss"]),
        ("test_loss", summary["test_loss"]),
        ("test_accuracy", summary["test_accuracy"]),
        ("epoch_time_s", summary["epoch_time_s"]),
    ):
        history = client.get_metric_history(one.run_id, name)
        assert [metric.step for metric in history] == [1, 2, 3], name
        assert [metric.value for metric in history] == values, name
    losses = client.get_metric_history(one.run_id, "first_losses")
    assert [metric.value for metric in losses] == summary["first_losses"]
    found = client.get_run(one.run_id).data
    # Of an epoch that is one span there are no percentiles of steps.
    names = {name for name in found.metrics if name.startswith("step_time")}
    assert names == {"step_time_mean_ms"}
    assert found.metrics["throughput"] == pytest.approx(summary["throughput_samples_per_s"])
    assert found.metrics["final_test_accuracy"] == summary["test_accuracy"][-1]
    for name in ("startup_s", "wall_s"):
        assert found.metrics[name] == pytest.approx(summary[name])
    assert "time_to_accuracy_s" not in found.metrics, "the target was not reached"
    assert "peak_device_memory_bytes" not in found.metrics, "there is no GPU"
    assert found.tags["verified"] == "true" and "failed_checks" not in found.tags
    assert found.tags["weights_sha256"] == summary["weights_sha256"]
    assert found.tags["world_size"] == "1"
    assert found.tags["precision"] == "fp32"


def test_the_communication_share_has_its_interval_beside_it_and_is_said(
    tracker: Track, client: MlflowClient, record: Record
) -> None:
    shares = {"": -0.107, "_low": -0.12, "_high": 0.02}
    told = {f"communication_share{end}": value for end, value in shares.items()}
    with tracker() as one:
        one.finish({**summarized(record), **told})
    found = client.get_run(one.run_id).data
    assert {name: found.metrics[name] for name in told} == told
    note = found.tags["mlflow.note.content"]
    assert "Exchange of gradients: not told from 0 (-12.0% to 2.0%)." in note


def test_the_peak_of_device_memory_is_a_metric_where_it_is_known(
    tracker: Track, client: MlflowClient, record: Record
) -> None:
    with tracker() as one:
        one.finish({**summarized(record), "peak_device_memory_bytes": 7_000})
    assert client.get_run(one.run_id).data.metrics["peak_device_memory_bytes"] == 7_000


def test_another_precision_than_fp32_is_a_tag_and_said(
    tracker: Track, client: MlflowClient, record: Record
) -> None:
    with tracker() as one:
        one.finish({**summarized(record), "precision": "bf16"})
    tags = client.get_run(one.run_id).data.tags
    assert tags["precision"] == "bf16"
    assert "(eager, bf16) trained" in tags["mlflow.note.content"]


def test_failed_checks_are_tags(tracker: Track, client: MlflowClient, record: Record) -> None:
    with tracker() as one:
        one.finish(summarized(record, clock="it stood still"))
    tags = client.get_run(one.run_id).data.tags
    assert (tags["verified"], tags["failed_checks"]) == ("false", "clock")
    assert "Not verified" in tags["mlflow.note.content"]


def test_caveats_are_tags_and_said(tracker: Track, client: MlflowClient, record: Record) -> None:
    unlike = {"code": "unlike_hosts", "detail": "2 cores on a, 4 cores on b"}
    over = {"code": "oversubscribed", "detail": "4 threads on 2 cores of a"}
    tagged = {}
    for name, found in {"none": [], "unlike": [unlike], "both": [over, unlike]}.items():
        with tracker() as one:
            one.finish({**summarized(record), "caveats": found})
        tagged[name] = client.get_run(one.run_id).data.tags
    assert not {"caveats", "not_ranked"} & tagged["none"].keys()
    assert tagged["unlike"]["caveats"] == "unlike_hosts"
    assert "not_ranked" not in tagged["unlike"]
    assert tagged["both"]["caveats"] == "oversubscribed,unlike_hosts"
    assert tagged["both"]["not_ranked"] == "oversubscribed (4 threads on 2 cores of a)"
    said = {name: tags["mlflow.note.content"] for name, tags in tagged.items()}
    assert "hosts" not in said["none"] and "not ranked" not in said["unlike"]
    assert "**Oversubscribed**: 4 threads on 2 cores of a. On a host" in said["both"]
    assert "The run is not ranked." in said["both"] and "**Unlike hosts**" in said["both"]


def test_the_model_loads_with_mlflow_and_predicts_as_the_trained_one(
    tracker: Track, client: MlflowClient, record: Record, dataset: Dataset, tmp_path: Path
) -> None:
    with tracker() as one:
        tracked(one, record, tmp_path)
    assert not (tmp_path / "model").exists(), "the copy in the run's folder is removed"
    (output,) = client.get_run(one.run_id).outputs.model_outputs
    model = mlflow.pyfunc.load_model(client.get_logged_model(output.model_id).artifact_location)
    _, (images, _) = dataset.normalized()
    probabilities = np.asarray(model.predict(images))
    assert record.final_weights is not None
    expected = Predictor(record.experiment.spec, record.final_weights).predict(images)
    np.testing.assert_array_equal(probabilities, expected)
    logits = reference.logits(record.experiment.spec, record.final_weights, images, np.float32)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


def test_no_model_is_logged_where_none_is_wanted(
    tracker: Track, client: MlflowClient, record: Record, tmp_path: Path
) -> None:
    with tracker(log_model=False) as one:
        one.model(record, tmp_path)
    assert client.get_run(one.run_id).outputs.model_outputs == []


def test_artifacts_are_files_and_folders_and_missing_ones_are_left_out(
    tracker: Track, client: MlflowClient, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "rank-0.log").write_text("a word\n")
    file = tmp_path / "environment.json"
    file.write_text("{}")
    with tracker() as one:
        one.artifacts(file, tmp_path / "logs", tmp_path / "summary.json")
    assert {item.path for item in client.list_artifacts(one.run_id)} == {
        "environment.json",
        "logs",
    }
    fetched = client.download_artifacts(one.run_id, "logs/rank-0.log", str(tmp_path))
    assert Path(fetched).read_text() == "a word\n"


def test_system_metrics_are_recorded_when_wanted(tracker: Track, client: MlflowClient) -> None:
    with tracker(system_metrics=True) as one:
        pass
    assert client.get_run(one.run_id).info.status == "FINISHED"

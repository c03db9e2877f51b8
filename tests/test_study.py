import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from mlflow import MlflowClient
from omegaconf import DictConfig, OmegaConf
from summaries import summary

from distlab.study import Study, relate


def recorded(folder: Path, world_size: int, throughput: float) -> dict[str, Any]:
    """A summary whose run is in a real MLflow store."""
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    run = client.create_run("0")
    client.set_terminated(run.info.run_id)
    return summary(
        world_size=world_size,
        throughput_samples_per_s=throughput,
        execution="eager",
        comparison_key="k",
        mlflow={"tracking_uri": uri, "experiment": "Default", "run_id": run.info.run_id},
    )


def ended(value: dict[str, Any] | None) -> JobReturn:
    job = JobReturn(status=JobStatus.COMPLETED)
    job.return_value = value
    return job


def sweep(folder: Path) -> DictConfig:
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})


def test_scaling_goes_to_mlflow_with_its_baseline(tmp_path: Path) -> None:
    two, one = recorded(tmp_path, 2, 1500.0), recorded(tmp_path, 1, 1000.0)
    relate([two, one])
    found = MlflowClient(two["mlflow"]["tracking_uri"]).get_run(two["mlflow"]["run_id"])
    assert found.data.metrics == {"speedup": 1.5, "scaling_efficiency": 0.75}
    assert found.data.tags["baseline_run_id"] == one["mlflow"]["run_id"]
    assert found.info.status == "FINISHED"


def test_a_study_ends_in_one_table_and_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study()
    study.on_multirun_start(sweep(tmp_path))
    for world_size, throughput in ((1, 1000.0), (2, 1500.0)):
        study.on_job_end(sweep(tmp_path), ended(recorded(tmp_path, world_size, throughput)))
    study.on_multirun_end(sweep(tmp_path))
    out = capsys.readouterr().out
    assert "1.50 75%" in out
    assert [one["speedup"] for one in json.loads((tmp_path / "study.json").read_text())] == [1, 1.5]


def test_a_failed_run_is_counted_and_the_command_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study()
    study.on_multirun_start(sweep(tmp_path))
    study.on_job_end(sweep(tmp_path), ended(None))
    study.on_job_end(sweep(tmp_path), ended(recorded(tmp_path, 1, 1000.0)))
    with pytest.raises(SystemExit) as left:
        study.on_multirun_end(sweep(tmp_path))
    assert left.value.code == 1
    assert "1 run(s) failed" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "study.json").read_text())) == 1


def test_a_single_run_is_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Study()
    study.on_job_end(sweep(tmp_path), ended(summary()))
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []

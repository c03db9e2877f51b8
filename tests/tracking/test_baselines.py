from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param

from distlab.experiment.options import TrackingOptions
from distlab.tracking.baselines import COMPARED, has_run_with_one_worker, stored_baselines
from distlab.tracking.store import open_store


def ids(runs: list[dict[str, Any]]) -> list[str]:
    return [run["mlflow"]["run_id"] for run in runs]


def test_baselines_are_runs_that_count_and_that_differ_in_nothing_else(
    record: Any, options: TrackingOptions, tmp_path: Path
) -> None:
    two = record(None, world_size=2)
    for values in (
        {"framework": "tf"},
        {"framework_version": "0"},
        {"execution": "graph"},
        {"comparison_key": "another"},
        {"series": "another"},
        {"verified": False},
        {"caveats": [{"code": "noisy", "detail": "others computed"}]},
        {"caveats": [{"code": "oversubscribed", "detail": "4 threads on 2 cores of here"}]},
    ):
        record(None, **values)
    # As a run was recorded before there were caveats.
    old = record(None)["mlflow"]["run_id"]
    MlflowClient(options.uri).set_tag(old, "too_noisy", "others computed")
    assert stored_baselines(open_store(options, tmp_path), two) == []
    record(None)
    newest = record(None)
    assert ids(stored_baselines(open_store(options, tmp_path), two)) == ids([newest])


def test_a_run_with_one_worker_is_known_by_its_options(
    record: Any, options: TrackingOptions, tmp_path: Path
) -> None:
    told = dict.fromkeys(COMPARED, "1")
    told |= {"framework.name": "torch", "execution": "eager", "repeats": "5"}

    def known(**changes: str) -> bool:
        return has_run_with_one_worker(open_store(options, tmp_path), {**told, **changes})

    for values in ({"verified": False}, {"world_size": 2}):
        _parameters(record(None, **values), told)
    assert not known()
    _parameters(record(None), {**told, "repeats": "1"})
    assert known()
    assert not known(epochs="2") and not known(execution="graph")


def _parameters(summary: dict[str, Any], parameters: dict[str, str]) -> None:
    mlflow = summary["mlflow"]
    MlflowClient(mlflow["tracking_uri"]).log_batch(
        mlflow["run_id"], params=[Param(name, value) for name, value in parameters.items()]
    )


def test_the_repeats_of_a_stored_studys_cell_are_baselines_together(
    begin: Any, record: Any, options: TrackingOptions, tmp_path: Path
) -> None:
    two = record(None, world_size=2)
    record(begin())
    newer = begin()
    runs = [record(newer, repeat=repeat) for repeat in range(2)]
    found = stored_baselines(open_store(options, tmp_path), two)
    assert sorted(ids(found)) == sorted(ids(runs))

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import studies
from mlflow import MlflowClient

from distlab.experiment.options import TrackingOptions
from distlab.outcome.run_fields import Run
from distlab.tracking.run_writer import Part, Tracker
from distlab.tracking.sqlite import default_uri
from distlab.tracking.study_writer import StudyTracker

Begin = Callable[..., StudyTracker]
Record = Callable[..., dict[str, Any]]


@pytest.fixture
def options(study_store: str, request: pytest.FixtureRequest) -> TrackingOptions:
    """An experiment of its own for each test."""
    return TrackingOptions(study_store, str(abs(hash(request.node.nodeid))), False, False)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in them, which takes MLflow seconds to make."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "mlruns").mkdir()
    MlflowClient(default_uri(folder)).search_experiments()
    return folder / "mlruns"


@pytest.fixture
def home(tables: Path, tmp_path: Path) -> Path:
    """A folder of commands whose default store has its tables."""
    shutil.copytree(tables, tmp_path / "home" / "mlruns")
    return tmp_path / "home"


@pytest.fixture
def client(study_store: str) -> MlflowClient:
    return MlflowClient(study_store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a tracker's command runs."""
    return tmp_path


@pytest.fixture
def tracker(folder: Path) -> Callable[..., Tracker]:
    """Begin a run in the default store."""

    def started(**options: Any) -> Tracker:
        return Tracker(TrackingOptions(**{"system_metrics": False, **options}), "a run", folder)

    return started


@pytest.fixture
def begin(options: TrackingOptions, tmp_path: Path) -> Begin:
    """Begin a study."""

    def begun(name: str = "a study", **tags: str) -> StudyTracker:
        plan = [{"epochs": 3}, {"epochs": 4}]
        return StudyTracker.begin(options, tmp_path, name, plan, {"command": "a b", **tags})

    return begun


@pytest.fixture
def record(options: TrackingOptions, tmp_path: Path) -> Record:
    """Record a finished run, of a study or by itself, as a run is recorded."""

    def recorded(
        study: StudyTracker | None, cell: str = "c", repeat: int = 0, **values: Any
    ) -> Any:
        (one,) = studies.study(
            repeats=1,
            frameworks=["torch"],
            world_sizes=[values.get("world_size", 1)],
            scalings=["weak"],
            models=["mlp"],
        )["runs"]
        part = Part(study.study, cell, repeat) if study else None
        with Tracker(options, "a run", tmp_path, part) as tracker:
            summary = {
                **{name: one[name] for name in Run.model_fields},
                "study": study.study if study else None,
                "cell": cell,
                "repeat": repeat,
                "mlflow": {
                    "tracking_uri": tracker.uri,
                    "experiment": tracker.experiment,
                    "run_id": tracker.run_id,
                },
                **values,
            }
            tracker.finish(summary)
            (tmp_path / "summary.json").write_text(json.dumps(summary))
            tracker.artifacts(tmp_path / "summary.json")
        return summary

    return recorded

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from distlab.experiment.options import TrackingOptions
from distlab.tracking.job import outputs
from distlab.tracking.job.outputs import fetch
from distlab.tracking.origin import VARIABLE
from distlab.tracking.run_writer import Tracker
from distlab.tracking.study_writer import StudyTracker


def test_a_study_comes_back_with_its_document_also_to_the_job_that_went_on_with_it(
    begin: Any, options: TrackingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "one")
    first = begin()
    first.finish("KILLED", 1.0)
    assert fetch(options, "one", tmp_path / "one") == [first.study]
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"plan.json", "environment.json", "study.json"}
    assert json.loads((tmp_path / "one" / "study.json").read_text())["study"] == first.study
    monkeypatch.setenv(VARIABLE, "two")
    second = StudyTracker.resume(options, tmp_path, first.study)
    second.go_on()
    second.finish("FINISHED", 1.0)
    assert fetch(options, "two", tmp_path / "two") == [first.study]
    assert fetch(options, "one", tmp_path / "none") == []


def test_a_run_comes_back_to_the_job_that_went_on_with_it(
    options: TrackingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tracker(options, "a run", tmp_path) as tracker:
        run_id = tracker.run_id
    monkeypatch.setenv(VARIABLE, "two")
    with Tracker(options, "a run", tmp_path, run_id=run_id):
        pass
    assert fetch(options, "two", tmp_path / "two") == [run_id]


def test_a_server_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "REACH_S", 0.1)
    monkeypatch.setattr(outputs, "open_store", lambda *_: pytest.fail("MLflow tries for minutes"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = TrackingOptions(uri=f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(OSError, match="said nothing"):
            fetch(options, "one", tmp_path)

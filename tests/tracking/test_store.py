import multiprocessing
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fresh_process
import pytest
from mlflow import MlflowClient

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.tracking.run_writer import Tracker

pytestmark = pytest.mark.slow

Track = Callable[..., Tracker]


def test_the_store_is_sqlite_below_the_folder_of_the_command(
    tmp_path: Path, tracker: Track
) -> None:
    with tracker() as one:
        pass
    assert one.uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()


def _open(folder: Path, results: Any) -> None:
    try:
        one = Tracker(TrackingOptions(experiment="raced", system_metrics=False), "r", folder)
        with one:
            client = MlflowClient(one.uri)
            results.put(client.get_run(one.run_id).info.experiment_id)
    except BaseException as error:
        results.put(repr(error))


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [True, False], ids=["new store", "old store"])
def test_two_processes_may_begin_the_same_experiment_at_once(
    tracker: Track, tmp_path: Path, fresh: bool
) -> None:
    """The first two runs in a folder both find neither tables nor experiment, and make them."""
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    if not fresh:
        tracker().__exit__(None, None, None)
    racers = [spawn.Process(target=_open, args=(tmp_path, results)) for _ in range(2)]
    for racer in racers:
        racer.start()
    found = [results.get(timeout=100) for _ in racers]
    for racer in racers:
        racer.join()
    assert found[0] == found[1] and found[0].isdigit(), found


def test_a_folder_that_may_not_be_written(read_only_folder: Path) -> None:
    with pytest.raises(DistlabError, match=r"tracking\.uri") as caught:
        Tracker(TrackingOptions(), "r", read_only_folder)
    assert "ermission denied" in caught.value.found


@pytest.mark.parametrize(
    "uri",
    ["sqlite:////proc/none/mlflow.db", "abacus://nowhere", "file:///tmp/plain-files"],
)
def test_a_store_that_cannot_be_is_a_users_mistake(tmp_path: Path, uri: str) -> None:
    with pytest.raises(DistlabError) as caught:
        Tracker(TrackingOptions(uri=uri), "r", tmp_path)
    error = caught.value
    assert uri in error.asked
    assert "tracking.uri=sqlite" in error.fix
    assert "\n" not in error.found


def test_a_folder_below_a_file_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("in the way")
    with pytest.raises(DistlabError) as caught:
        Tracker(TrackingOptions(), "r", tmp_path)
    assert str(tmp_path) in caught.value.asked


def test_a_database_of_something_else_is_a_users_mistake_and_stays_as_it_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("create table experiments (name text)")
        database.execute("insert into experiments values ('mine')")
    with pytest.raises(DistlabError) as caught:
        Tracker(TrackingOptions(uri=f"sqlite:///{path}"), "r", tmp_path)
    assert str(path) in caught.value.asked
    with sqlite3.connect(path) as database:
        assert database.execute("select name from experiments").fetchall() == [("mine",)]


def test_a_file_that_is_no_database_is_a_users_mistake(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear sir or madam\n" * 100)
    with pytest.raises(DistlabError) as caught:
        Tracker(TrackingOptions(uri=f"sqlite:///{path}"), "r", tmp_path)
    assert "not a database" in caught.value.found


@pytest.mark.parametrize(
    ("said", "told"), [({}, "true"), ({"MLFLOW_DISABLE_TELEMETRY": "no"}, "no")]
)
def test_mlflow_tells_its_makers_nothing_unless_the_user_says_so(
    said: dict[str, str], told: str
) -> None:
    program = "import distlab.tracking, os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    assert fresh_process.run(program, **said).stdout == f"{told}\n"

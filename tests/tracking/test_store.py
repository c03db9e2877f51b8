import json
import multiprocessing
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fresh_process
import pytest
import summaries
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.tracking import reader
from distlab.tracking.run_writer import Part, Tracker
from distlab.tracking.sqlite import default_uri
from distlab.tracking.store import check, open_store
from distlab.tracking.study_writer import StudyTracker

pytestmark = pytest.mark.slow

Track = Callable[..., Tracker]


def test_the_store_is_sqlite_below_the_folder_of_the_command(
    tmp_path: Path, tracker: Track
) -> None:
    with tracker() as one:
        pass
    assert one.uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()


def _record(folder: Path, experiment: str, go: Any, results: Any) -> None:
    try:
        options = TrackingOptions(experiment=experiment, system_metrics=False)
        go.wait()
        store = open_store(options, folder)
        for repeat in range(5):
            run = store.client.create_run(store.experiment_id).info.run_id
            # The same name and digest in each process: a row that is looked for and then made.
            data = DatasetInput(Dataset(f"data {repeat}", "0" * 36, "local", "{}"))
            store.write(lambda run=run, data=data: store.client.log_inputs(run, [data]))
            store.client.set_terminated(run)
        results.put(store.experiment_id)
    except BaseException as error:
        results.put(repr(error))


@pytest.mark.parametrize("fresh", [True, False], ids=["new store", "old store"])
def test_processes_may_begin_the_same_experiment_and_name_the_same_data_at_once(
    tmp_path: Path, home: Path, fresh: bool
) -> None:
    """The first runs in a folder find neither tables nor experiment nor data, and make them."""
    spawn = multiprocessing.get_context("spawn")
    results, go = spawn.Queue(), spawn.Event()
    folder = tmp_path if fresh else home
    racers = [spawn.Process(target=_record, args=(folder, "raced", go, results)) for _ in range(4)]
    for racer in racers:
        racer.start()
    go.set()
    found = {results.get(timeout=100) for _ in racers}
    for racer in racers:
        racer.join()
    assert len(found) == 1 and min(found).isdigit(), found
    client = MlflowClient(default_uri(folder))
    runs = client.search_runs([found.pop()])
    assert len(runs) == 20
    assert all(run.info.status == "FINISHED" and run.inputs.dataset_inputs for run in runs)


def test_a_folder_that_may_not_be_written(read_only_folder: Path) -> None:
    with pytest.raises(DistlabError, match=r"tracking\.uri") as caught:
        Tracker(TrackingOptions(), "r", read_only_folder)
    assert "ermission denied" in caught.value.found


@pytest.mark.parametrize(
    "uri",
    ["sqlite:////proc/none/mlflow.db", "abacus://nowhere"],
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


@pytest.mark.parametrize("uri", ["file:///tmp/plain files", "./plain", "/tmp/plain", "plain"])
def test_a_folder_of_plain_files_is_answered_with_a_database_in_it(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DistlabError) as caught:
        open_store(TrackingOptions(uri=uri), tmp_path)
    (word,) = shlex.split(caught.value.fix)
    assert word.startswith("tracking.uri=sqlite:////") and word.endswith("/mlflow.db")
    assert not list(tmp_path.iterdir())


def test_a_relative_path_of_sqlite_is_of_the_folder_of_the_command(tmp_path: Path) -> None:
    store = open_store(TrackingOptions(uri="sqlite:///here/runs.db"), tmp_path)
    assert store.uri == f"sqlite:///{tmp_path}/here/runs.db"
    assert (tmp_path / "here" / "runs.db").is_file()


def test_a_server_that_does_not_answer_is_told_within_seconds(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"http://bob:S3cret@127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(DistlabError) as caught:
            open_store(TrackingOptions(uri=uri), tmp_path)
    assert "it does not answer" in caught.value.found
    assert "S3cret" not in str(caught.value)


def test_readers_make_nothing(tmp_path: Path) -> None:
    with pytest.raises(DistlabError, match="there is no store"):
        reader.load(TrackingOptions(), None, tmp_path)
    with pytest.raises(DistlabError, match="there is no store"):
        StudyTracker.resume(TrackingOptions(), tmp_path, "1a2b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    with pytest.raises(DistlabError, match="there is no such experiment"):
        reader.load(TrackingOptions(), None, tmp_path)
    assert not (tmp_path / "mlruns" / "mlflow.db").read_bytes()


def test_readers_do_not_make_an_experiment_and_name_those_there_are(home: Path) -> None:
    store = open_store(TrackingOptions(experiment="there"), home)
    with pytest.raises(DistlabError) as caught:
        reader.load(TrackingOptions(experiment="typo"), None, home)
    assert caught.value.fix == "tracking.experiment=there"
    assert store.client.get_experiment_by_name("typo") is None


def test_a_deleted_experiment_comes_back_with_the_command_that_is_told(home: Path) -> None:
    options = TrackingOptions(experiment="gone for now")
    store = open_store(options, home)
    store.client.delete_experiment(store.experiment_id)
    for make in (True, False):
        with pytest.raises(DistlabError, match="was deleted") as caught:
            check(options, home, make)
    command = caught.value.fix.splitlines()[0].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, capture_output=True)
    check(options, home)
    assert open_store(options, home, make=False).experiment_id == store.experiment_id


def test_mlflows_own_variables_name_the_experiment_by_its_id(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(TrackingOptions(experiment="by id"), home)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", store.experiment_id)
    assert open_store(TrackingOptions(), home).experiment == "by id"
    assert open_store(TrackingOptions(experiment="named"), home).experiment == "named"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    with pytest.raises(DistlabError, match=r"\(by id\)"):
        open_store(TrackingOptions(), home)


def test_a_store_that_may_only_be_read_is_refused_before_anything_starts(
    read_only_folder: Path,
) -> None:
    with pytest.raises(DistlabError) as caught:
        check(TrackingOptions(), read_only_folder)
    assert "may not be written" in caught.value.found


def _study(folder: Path) -> tuple[str, str]:
    """A study with two runs in the default store below a folder; its id and that of a run."""
    options = TrackingOptions(system_metrics=False)
    study = StudyTracker.begin(options, folder, "a study", [{"epochs": 3}], {"command": "a"})
    for repeat in range(2):
        with Tracker(options, "r", folder, Part(study.study, "c", repeat)) as run:
            summary = {**summaries.summary(), "cell": "c", "repeat": repeat}
            (folder / "summary.json").write_text(json.dumps(summary))
            run.artifacts(folder / "summary.json")
    return study.study, run.run_id


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_store_at_another_place_is_whole_and_leaves_the_old_place_alone(
    home: Path, tmp_path: Path, how: str
) -> None:
    old, new = home, tmp_path / "new place"
    study, _ = _study(old)
    if how == "moved":
        old.rename(new)
    else:
        shutil.copytree(old, new)
    before = sorted(old.rglob("*"))
    options = TrackingOptions(system_metrics=False)
    assert len(reader.load(options, study, new)["runs"]) == 2
    resumed = StudyTracker.resume(options, new, study)
    assert resumed.plan() == [{"epochs": 3}]
    with Tracker(options, "later", new) as run:
        run.artifacts(new / "summary.json")
    assert (new / "mlruns" / "artifacts" / run.run_id / "artifacts" / "summary.json").is_file()
    assert sorted(old.rglob("*")) == before
    # MLflow's own UI and clients see what distlab sees.
    client = MlflowClient(default_uri(new))
    assert [item.path for item in client.list_artifacts(run.run_id)] == ["summary.json"]
    assert {item.path for item in client.list_artifacts(study)} == {"environment.json", "plan.json"}


def test_artifacts_that_were_put_elsewhere_on_purpose_stay_there(home: Path) -> None:
    store = open_store(TrackingOptions(), home)
    elsewhere = home / "big disk" / "artifacts"
    elsewhere.mkdir(parents=True)
    store.client.create_experiment("mine", elsewhere.as_uri())
    open_store(TrackingOptions(experiment="mine"), home)
    found = store.client.get_experiment_by_name("mine")
    assert found.artifact_location == elsewhere.as_uri()


@pytest.mark.parametrize("damage", ["lost", "cut off", "of something else"])
def test_a_run_whose_summary_is_lost_is_told_and_the_others_are_reported(
    home: Path, damage: str
) -> None:
    study, run = _study(home)
    file = home / "mlruns" / "artifacts" / run / "artifacts" / "summary.json"
    if damage == "lost":
        file.unlink()
    else:
        file.write_text('{"framework": ' if damage == "cut off" else "[]")
    data = reader.load(TrackingOptions(), study, home)
    assert [one["repeat"] for one in data["runs"]] == [0]
    ((told,)) = data["failed"]
    assert (told["repeat"], told["cell"]) == (1, "c")
    assert f"summary.json of the run {run} is " in told["error"] and "\n" not in told["error"]
    assert reader.lost(data) == [told["error"]]
    shutil.rmtree(home / "mlruns" / "artifacts" / study)
    assert reader.load(TrackingOptions(), study, home)["environment"]["python"]
    with pytest.raises(DistlabError, match=r"plan\.json of the run \w+ is lost"):
        StudyTracker.resume(TrackingOptions(), home, study).plan()

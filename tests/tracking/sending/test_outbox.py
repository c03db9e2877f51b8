"""A server that stops answering costs a run nothing, and its records nothing."""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import studies
from mlflow import MlflowClient
from mlflow_server import Server

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.outcome.run_fields import Run
from distlab.tracking import reader
from distlab.tracking.__main__ import main
from distlab.tracking.run_writer import Part, Tracker
from distlab.tracking.sending import calls
from distlab.tracking.sending.journal import FILES, Kept, _check_inside
from distlab.tracking.sending.outbox import Connection, Outbox
from distlab.tracking.store import open_store
from distlab.tracking.study_writer import StudyTracker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server") / "store", tables)
    yield one
    one.kill()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second and no second try."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def options(server: Server) -> TrackingOptions:
    """With a password, which the server asks nobody for."""
    return TrackingOptions(server.uri.replace("//", "//bob:S3cret@"), "e", False, False)


@pytest.fixture
def said() -> list[str]:
    return []


def finished(tracker: Tracker, folder: Path, part: Part) -> dict[str, Any]:
    """A run's end: its summary, written and told."""
    (one,) = studies.study(
        repeats=1, frameworks=["torch"], world_sizes=[1], scalings=["weak"], models=["mlp"]
    )["runs"]
    mine = {"study": part.study, "cell": part.cell, "repeat": part.repeat}
    told = {"tracking_uri": tracker.uri, "experiment": "e", "run_id": tracker.run_id}
    own = {name: one[name] for name in Run.model_fields}
    summary = {**own, **mine, "mlflow": told}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    tracker.finish(summary)
    tracker.artifacts(folder / "summary.json")
    return summary


def test_a_study_whose_server_dies_goes_on_and_is_completed_later(
    server: Server, options: TrackingOptions, tmp_path: Path, said: list[str]
) -> None:
    folder = tmp_path / "study"
    study = StudyTracker.begin(
        options, tmp_path, "s", [{"epochs": 3}], {"command": "c"}, folder, said.append
    )
    parts = [Part(study.study, "c", repeat) for repeat in range(3)]
    runs = []
    for part in parts:
        run_dir = folder / str(part.repeat)
        with Tracker(options, "r", tmp_path, part, run_dir, study.connection) as run:
            if part.repeat == 1:
                server.kill()
            study.ran(finished(run, run_dir, part))
        runs.append(run)
    assert len(said) == 1
    assert "does not answer" in said[0] and f"distlab.tracking sync {folder}" in said[0]
    study.failed(Part(study.study, "d", 0), {"framework.name": "tf"}, "no memory")
    study.looked()
    study.finish("FINISHED", 3.0)
    offline = study.load()
    assert [one["repeat"] for one in offline["runs"]] == [0, 1, 2]
    assert [one["error"] for one in offline["failed"]] == ["no memory"]
    assert offline["finished"] and offline["looks"] == 1 and offline["wall_s"] == 3.0
    study.close()
    assert "not all records are in MLflow yet" in said[-1]
    assert "S3cret" not in " ".join(file.read_text() for file in folder.rglob("*.json*"))
    assert main(["sync", str(folder), f"tracking.uri={options.uri}"]) == 1, "it is still dead"

    server.start()
    assert main(["sync", str(folder)]) == 1, "the password is not kept"
    assert main(["sync", str(folder), f"tracking.uri={options.uri}"]) == 0
    assert not list(folder.rglob(FILES))
    online = reader.load(options, study.study, tmp_path)
    assert [one["repeat"] for one in online["runs"]] == [0, 1, 2]
    assert [one["error"] for one in online["failed"]] == ["no memory"]
    assert (online["looks"], online["wall_s"], bool(online["finished"])) == (1, 3.0, True)
    client = MlflowClient(options.uri)
    ids = [one["mlflow"]["run_id"] for one in online["runs"]]
    assert ids[:2] == [run.run_id for run in runs[:2]], "runs that had begun keep their ids"
    assert ids[2] != runs[2].run_id
    for part, run_id in zip(parts, ids, strict=True):
        found = client.get_run(run_id)
        assert found.info.status == "FINISHED"
        assert found.data.metrics["throughput"] > 0 and found.data.tags["verified"] == "true"
        local = json.loads((folder / str(part.repeat) / "summary.json").read_text())
        assert local["mlflow"]["run_id"] == run_id, "the files have the new id, too"
    assert main(["sync", str(folder)]) == 0, "there is nothing more to do"


def test_a_server_that_hangs_is_waited_for_once_and_catches_up_when_it_goes_on(
    server: Server, options: TrackingOptions, tmp_path: Path, said: list[str]
) -> None:
    connection = Connection(open_store(options, tmp_path), tmp_path, said.append)
    out = Outbox(connection, tmp_path, "hangs", {})
    out.batch(metrics=[("before", 1.0, 0)])
    out.flush()
    server.stop()
    try:
        for step in range(50):
            out.batch(metrics=[("during", float("nan"), step)])
        out.end("FINISHED")
        out.close()
        connection.catch_up()
        assert len(said) == 2 and "not all records" in said[1], said
    finally:
        server.go_on()
    connection.catch_up()
    assert said[2:] == ["MLflow answers again, and has all records now"]
    client = connection.store.client
    assert client.get_run(out.run_id).info.status == "FINISHED"
    assert len(client.get_metric_history(out.run_id, "during")) == 50
    assert not list(tmp_path.glob(FILES))


def test_what_a_store_refuses_is_kept_and_the_rest_is_sent(
    options: TrackingOptions, tmp_path: Path, said: list[str]
) -> None:
    connection = Connection(open_store(options, tmp_path), tmp_path, said.append)
    out = Outbox(connection, tmp_path, "refuses", {})
    out.batch(metrics=[("no / such * name", 1.0, 0)])
    out.batch(metrics=[("fine", 1.0, 0)])
    out.close()
    assert connection.store.client.get_run(out.run_id).data.metrics == {"fine": 1.0}
    assert len(said) == 1 and "refuses" in said[0]
    assert len(list(tmp_path.glob(FILES))) == 1


FULL = """(raised as a result of Query-invoked autoflush; consider using a no_autoflush block)
(sqlite3.OperationalError) database or disk is full
[SQL: INSERT INTO metrics (key, value) VALUES (?, ?)]
(Background on this error at: https://sqlalche.me/e/20/e3q8)"""


def test_what_neither_the_store_nor_the_disk_takes_is_said_to_be_kept_nowhere(
    study_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError(FULL)

    store = open_store(TrackingOptions(study_store, "e"), tmp_path)
    connection = Connection(store, tmp_path / "study", said.append)
    monkeypatch.setattr(calls, "send", full)
    for folder in (tmp_path / "study" / "a", Path("/dev/full/b")):
        out = Outbox(connection, folder, "full", {})
        out.batch(tags={"a": "b"})
        assert not out.flush()
        out.close()
    kept, lost = said
    refused = "MLflow refuses a record: (sqlite3.OperationalError) database or disk is full"
    assert kept.startswith(f"{refused}; it is kept in {tmp_path / 'study'}, try again with:")
    assert lost == f"{refused}, and {tmp_path / 'study'} does not keep it"


def test_a_run_that_was_lost_with_its_server_is_made_anew(
    server: Server, options: TrackingOptions, tmp_path: Path
) -> None:
    """Its file is left from a process that was killed; the server was set up again."""
    connection = Connection(open_store(options, tmp_path), tmp_path)
    out = Outbox(connection, tmp_path, "lost", {"a": "b"})
    out.batch(params={"epochs": 3})
    out.flush()
    (file,) = tmp_path.glob(FILES)
    assert main(["sync", str(tmp_path), f"tracking.uri={options.uri}"]) == 1, "it still runs"
    text = file.read_text().replace(out.run_id, "0" * 32)
    out.close()
    file.write_text(text + '{"n": 2, "call"')
    assert main(["sync", str(tmp_path), f"tracking.uri={options.uri}"]) == 0
    store = connection.store
    found = store.client.search_runs([store.experiment_id], "tags.a = 'b'")
    (latest,) = [run for run in found if run.info.run_id != out.run_id]
    assert latest.data.params == {"epochs": "3"}
    assert latest.info.status == "KILLED"


def test_secrets_are_in_no_call(options: TrackingOptions, tmp_path: Path) -> None:
    connection = Connection(open_store(options, tmp_path))
    out = Outbox(connection, None, "masks", {"command": f"tracking.uri={options.uri}"})
    out.batch(params={"framework.env.A_TOKEN": "t0ken"}, tags={"error": f"at {options.uri}"})
    out.close()
    found = str(connection.store.client.get_run(out.run_id).to_dictionary())
    assert "S3cret" not in found and "t0ken" not in found and "***" in found


@pytest.mark.parametrize(
    ("words", "found"),
    [([], "only command"), (["send"], "only command"), (["sync", "no/such"], "no folder")],
)
def test_a_command_that_is_none_is_answered_with_one_that_is(
    words: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    error = capsys.readouterr().err
    assert found in error and "python -m distlab.tracking sync outputs" in error


def test_threads_that_tell_at_once_leave_nothing_unsent(
    study_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """A run's epochs come from one thread, what its machine was busy with from another."""
    sent: list[int] = []
    monkeypatch.setattr(calls, "send", lambda call, *_: sent.append(call["metrics"][0][3]))
    connection = Connection(open_store(TrackingOptions(study_store, "e"), tmp_path), tmp_path)
    monkeypatch.setattr(connection, "_say", said.append)
    out = Outbox(connection, tmp_path, "two threads", {})

    def tell(first: int) -> None:
        for step in range(first, first + 300):
            out.batch(metrics=[("m", 1.0, step)])

    others = [threading.Thread(target=tell, args=[first]) for first in (0, 300, 600)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for one in others:
            one.start()
        for one in others:
            one.join()
    finally:
        sys.setswitchinterval(before)
    out.flush()
    (file,) = tmp_path.glob(FILES)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(one["n"] for one in lines if "n" in one) == list(range(1, 901))
    out.close()
    connection.catch_up()
    assert sorted(sent) == list(range(900))
    assert not said and not file.exists()


def test_a_file_that_cannot_be_written_ends_nothing(
    options: TrackingOptions, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    connection = Connection(open_store(options, tmp_path))
    out = Outbox(connection, tmp_path / "a file" / "run", "no disk", {})
    out.batch(tags={"x": "y"})
    out.close()
    assert connection.store.client.get_run(out.run_id).data.tags["x"] == "y"
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_a_server_that_is_away_at_the_start_ends_the_command(tmp_path: Path) -> None:
    with pytest.raises(DistlabError, match="does not answer"):
        Tracker(TrackingOptions("http://127.0.0.1:9", "e", False, False), "r", tmp_path)


HEAD = {
    "uri": "sqlite:///x.db",
    "experiment": "e",
    "run": "1" * 32,
    "made": True,
    "create": {"name": "r", "tags": {}, "time": 1},
}


def kept(folder: Path, *lines: object) -> Kept:
    path = folder / "mlflow-11111111.jsonl"
    path.write_text(
        "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    )
    return Kept(path)


def test_lines_that_are_no_calls_are_left_out(tmp_path: Path) -> None:
    one = kept(
        *(
            tmp_path,
            {"head": HEAD},
            "[1, 2",
            "7",
            '"text"',
            "[" * 50_000,
            {"n": "x"},
            {"call": "end"},
        ),
        *({"n": 1, "call": "end", "run": "1", "status": "FINISHED", "time": 1}, {"sent": []}),
    )
    assert one.head == HEAD
    assert [number for number, _ in one.left] == [1]


@pytest.mark.parametrize("spoilt", ["uri", "experiment", "run", "made", "create"])
def test_a_file_without_a_whole_head_is_no_runs(spoilt: str, tmp_path: Path) -> None:
    assert kept(tmp_path, {"head": {k: v for k, v in HEAD.items() if k != spoilt}}).head == {}


def test_a_plan_of_a_large_study_is_kept_whole(tmp_path: Path) -> None:
    text = "x" * 500_000
    one = kept(tmp_path, {"head": HEAD}, {"n": 1, "call": "text", "text": text, "to": "plan.json"})
    assert one.calls[1]["text"] == text


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "link/secret"])
def test_nothing_is_sent_or_removed_that_lies_elsewhere(path: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="not in the folder"):
        _check_inside({"call": "model", "path": path}, folder)
    _check_inside({"call": "file", "path": "logs"}, folder)

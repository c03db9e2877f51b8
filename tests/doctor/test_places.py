import gzip
import http.server
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from distlab.doctor import places
from distlab.doctor.finding import Finding, Level


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DISTLAB_DATA_DIR", "RAY_ADDRESS", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[str]:
    """A server that is healthy, and forbids all else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://bob:S3cret@127.0.0.1:{serving.server_port}"
        serving.shutdown()


def store(uri: str | None = None) -> Finding:
    (found,) = places.store(uri)
    return found


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert store().level is Level.fine
    assert store(f"sqlite:///{tmp_path}/deep/er/mlflow.db").level is Level.fine
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_read_and_could_be_written(tmp_path: Path) -> None:
    (tmp_path / "my runs").mkdir()
    path = tmp_path / "my runs" / "m=1,2.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE alembic_version (version)")
        columns = "name, experiment_id, lifecycle_stage"
        database.execute(f"CREATE TABLE experiments ({columns})")
        database.execute("INSERT INTO experiments VALUES ('gone', 1, 'deleted')")
    database.close()
    before = path.read_bytes()
    found = store(f"sqlite:///{path}")
    assert found.level is Level.fine and "is there" in found.found
    (deleted,) = places.store(f"sqlite:///{path}", "gone")
    assert deleted.level is Level.wrong and "experiments restore" in deleted.advice
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(b"this is no database" * 100)
    assert store(f"sqlite:///{path}").level is Level.wrong


def test_a_store_that_may_not_be_written_is_wrong() -> None:
    assert store("sqlite:////proc/nowhere/mlflow.db").level is Level.wrong


def test_a_server_answers_and_its_password_is_not_told(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    found = store()
    assert found.level is Level.fine and "S3cret" not in found.found
    refused = store(f"{server}/below")
    assert refused.level is Level.wrong and "403" in refused.found and "S3cret" not in refused.found


def test_a_server_that_is_not_there_or_does_not_answer_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert "no answer" in store(f"http://{address}").found
    assert store(f"http://{address}").level is Level.wrong
    assert store("postgresql://me:S3cret@127.0.0.1:1/db").level is Level.wrong
    assert "S3cret" not in store("postgresql://me:S3cret@127.0.0.1:1/db").found
    assert store("nonsense").level is Level.wrong


def test_a_folder_that_takes_no_records_is_wrong(
    read_only_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(read_only_folder)
    assert next(places.folder()).level is Level.wrong
    assert store().level is Level.wrong


def test_data_that_are_named_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(places.data(str(tmp_path))).level is Level.wrong
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(b"no images")
    monkeypatch.setenv("DISTLAB_DATA_DIR", str(tmp_path))
    found = next(places.data())
    assert found.level is Level.wrong and "mnist5k" in found.advice


def test_data_that_are_not_named_may_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places.mirrors, "cache_folder", lambda: tmp_path)
    assert next(places.data()).level is Level.note
    for number in range(4):
        (tmp_path / f"{number}-ubyte.gz").touch()
    assert next(places.data()).level is Level.fine


def test_a_ray_that_runs_or_did_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    *_, none = places.cluster()
    assert none.level is Level.fine and "no Ray runs" in none.found
    with socket.create_server(("127.0.0.1", 0)) as running:
        address = f"127.0.0.1:{running.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        *_, there = places.cluster()
        assert there.level is Level.fine and address in there.found
    *_, gone = places.cluster()
    assert gone.level is Level.note and address in gone.found


def test_a_temporary_folder_that_is_not_there_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
    (found,) = places.cluster()
    assert found.level is Level.wrong


def test_whether_other_users_are_kept_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (kept,) = places.strangers()
    assert kept.level is Level.fine
    monkeypatch.setenv("PATH", "/nowhere")
    (open_to_all,) = places.strangers()
    assert open_to_all.level is Level.wrong and "cluster.open_ports=true" in open_to_all.advice

"""A study that a real MLflow server records in a real PostgreSQL, as in ``launch/compose.yaml``."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import command
import pytest
from mlflow import MlflowClient
from mlflow_server import Server

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PROGRAMS or find_spec("psycopg") is None,
        reason="NOT TRIED ON POSTGRESQL: "
        'apt-get install postgresql; pip install "distlab[postgresql]"',
    ),
]


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a PostgreSQL of this test's own."""
    folder = tempfile.mkdtemp(prefix="distlab-postgresql-")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    # PostgreSQL refuses to be root.
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(program: str, *words: str) -> None:
        line = [*as_user, str(PROGRAMS[-1] / program), "-D", f"{folder}/data", *words]
        subprocess.run(line, cwd="/", check=True, stdout=subprocess.DEVNULL)

    run("initdb", "--username=mlflow", "--auth=trust")
    listening = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder}"
    run("pg_ctl", "start", "-w", "-l", f"{folder}/log", "-o", listening)
    try:
        yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(folder)


def test_a_study_is_recorded_on_postgresql(database: str, tmp_path: Path) -> None:
    server = Server(tmp_path, store=database)
    try:
        there = f"tracking.uri={server.uri}"
        ended = command.run(tmp_path, "-m", *command.SMALL_JOB, "epochs=1", "repeats=2", there)
        assert ended.code == 0, ended.out + ended.err
        client = MlflowClient(server.uri)
        experiment = client.get_experiment_by_name("distlab")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        (study,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
        runs = [run for run in found if run is not study]
        assert len(runs) == 2
        assert {run.info.status for run in found} == {"FINISHED"}
        for run in runs:
            assert run.data.metrics["throughput_samples_per_s"] > 0
            assert "summary.json" in {file.path for file in client.list_artifacts(run.info.run_id)}
        assert "report" in {file.path for file in client.list_artifacts(study.info.run_id)}
    finally:
        server.kill()

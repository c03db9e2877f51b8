"""A real MLflow server in a process group of its own, to be stopped, killed and started anew."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SECONDS = 300
"""A guard against a hang; a server is there in a tenth of it."""


class Server:
    """``mlflow server`` over SQLite in a folder, or another store, always on the same port.

    Parameters
    ----------
    folder:
        Where its database and artifacts are.
    tables:
        A folder with a database that has MLflow's tables, which is copied.
    store:
        The address of another database, instead of that.
    """

    def __init__(
        self, folder: Path, tables: Path | None = None, *, store: str | None = None
    ) -> None:
        self.folder = folder
        self._store = store or f"sqlite:///{folder}/mlflow.db"
        if tables:
            shutil.copytree(tables, folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--backend-store-uri", self._store),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        given_up = time.monotonic() + SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=SECONDS):
                    return
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None and time.monotonic() < given_up
                time.sleep(0.1)

    def stop(self) -> None:
        """SIGSTOP: connections are accepted, and nothing is answered."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, to its helpers too."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

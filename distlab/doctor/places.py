"""Where runs leave and find things: the store, the folder, the data, a Ray that runs already."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from distlab.cluster.start import before, session
from distlab.data import folders, sources
from distlab.data.published import mirrors
from distlab.doctor import preflight
from distlab.doctor.finding import Finding, note, wrong
from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions, with_mlflow_variables
from distlab.machine import guard
from distlab.masking import mask
from distlab.tracking import store as tracking_store

ANSWER_S = 5.0
"""Seconds that a server may take to answer."""


def store(uri: str | None = None, experiment: str | None = None) -> Iterator[Finding]:
    """Whether the MLflow store can be read and written; nothing is made."""
    options = TrackingOptions(uri, experiment) if experiment else TrackingOptions(uri)
    options = with_mlflow_variables(options)
    address = tracking_store.address(options, Path.cwd())
    try:
        tracking_store.check(options, Path.cwd())
        if tracking_store.is_local(options):
            yield _database(Path(address.removeprefix(tracking_store.SQLITE)))
        elif address.startswith("http"):
            yield _server(address)
        else:
            yield _other(address)
    except DistlabError as error:
        yield wrong("store", mask(f"{address}: {error.found}"), error.fix.splitlines()[0])
    except (OSError, SQLAlchemyError, ImportError) as error:
        advice = "another one: tracking.uri=sqlite:////path/to/mlflow.db"
        yield wrong("store", f"{mask(address)}: {mask(_line(error))}", advice)


def _database(path: Path) -> Finding:
    """SQLite's file, which may not be there yet; it is written together with files beside it."""
    folder = next(one for one in path.parents if one.exists())
    if not _takes(folder):
        advice = "from a folder that may be written, or tracking.uri=sqlite:////path/to/mlflow.db"
        return wrong("store", f"{path}: {folder} takes no files", advice)
    return Finding("store", f"{path} is {'there' if path.exists() else 'made by the first run'}")


def _server(uri: str) -> Finding:
    """MLflow's server."""
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_S)
    except requests.RequestException as error:
        advice = f"mlflow server --host ADDRESS, or another store; a proxy: NO_PROXY={_host(uri)}"
        reason = "no answer" if isinstance(error, requests.Timeout) else type(error).__name__
        return wrong("store", f"{mask(uri)}: {reason} within {ANSWER_S:.0f} s", advice)
    if not answer.ok:
        advice = "user and password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return wrong("store", f"{mask(uri)} answers {answer.status_code} {answer.reason}", advice)
    return Finding("store", f"{mask(uri)} answers")


def _other(uri: str) -> Finding:
    """A database server: its driver, and whether it can be reached."""
    url = make_url(uri)
    create_engine(uri).dispose()  # imports the driver
    if url.host:
        default = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
        port = url.port or default.get(url.get_backend_name(), 0)
        socket.create_connection((url.host, port), ANSWER_S).close()
    return Finding("store", f"{mask(uri)} can be reached")


def _host(uri: str) -> str:
    return make_url(uri).host or "HOST"


def folder() -> Iterator[Finding]:
    """Whether the folder of the command takes records."""
    here = Path.cwd()
    if _takes(here):
        yield Finding("records", f"go into {here / 'outputs'}")
    else:
        advice = "from another folder, or hydra.run.dir=/path/to/folder"
        yield wrong("records", f"{here} takes no records", advice)


def data(directory: str | None = None) -> Iterator[Finding]:
    """Whether MNIST is there, or would be downloaded."""
    named = directory or os.environ.get(folders.FOLDER_VARIABLE)
    if named:
        try:
            found = sources.load("mnist", named, progress=False)
            yield Finding("data=mnist", f"{found.name}, {found.source.split(' (')[0]}")
        except DistlabError as error:
            advice = "data.dir=FOLDER, DISTLAB_DATA_DIR=FOLDER, or data=mnist5k, which needs none"
            yield wrong("data=mnist", f"{named}: {error.found}", advice)
        return
    cache = mirrors.cache_folder()
    if len(list(cache.glob("*ubyte*"))) >= 4:
        yield Finding("data=mnist", f"was downloaded to {cache}")
    else:
        advice = "without a network: data=mnist5k, or data.dir=FOLDER with its four files"
        yield note("data=mnist", "would be downloaded by the first run (11 MB)", advice)


def cluster() -> Iterator[Finding]:
    """Where Ray puts its files, and whether one runs already."""
    temp = session.asked()
    free = 0
    try:
        usage = os.statvfs(temp)
        free = usage.f_bavail * usage.f_frsize
    except OSError as error:
        yield wrong("Ray's files", f"{temp}: {_line(error)}", f"mkdir -p {temp}")
        return
    if session.is_unfit(temp):
        found = f"{temp} is too long for its sockets, or no plain path: they go below /tmp"
        yield Finding("Ray's files", found)
    elif free < 1 << 30:
        advice = "free some, or another disk: RAY_TMPDIR=/path (a short one)"
        yield wrong("Ray's files", f"{free >> 20} MiB are free in {temp}", advice)
    else:
        yield Finding("Ray's files", f"go below {temp}, into a folder of the command's own")
    try:
        address = _running()
    except DistlabError as error:
        yield wrong("cluster", error.found, error.fix.splitlines()[0])
        return
    if address is None:
        yield Finding("cluster", "no Ray runs here: each command starts its own")
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
        yield Finding("cluster", f"a Ray answers at {address}: cluster=existing joins it")
    except (OSError, ValueError) as error:
        advice = "cluster=existing would fail; cluster=local starts a Ray of the command's own"
        yield note("cluster", f"none answers at {address}: {_line(error)}", advice)


def strangers() -> Iterator[Finding]:
    """Whether other users of this machine can be kept from what a run listens on."""
    try:
        with tempfile.TemporaryDirectory(dir=session.place()) as folder:
            guard.build(Path(folder))
        yield Finding("other users", "are kept from several workers of a run")
    except OSError as error:
        advice = "apt-get install gcc libc6-dev; on a machine of one user: cluster.open_ports=true"
        yield wrong("other users", f"cannot be kept from several workers: {error}", advice)


def _running() -> str | None:
    """The address of a Ray: the shell's, or that of the last one that was started here."""
    if named := os.environ.get("RAY_ADDRESS"):
        return named.removeprefix("ray://")
    return before.recorded()


def _takes(folder: Path) -> bool:
    """Whether a folder takes files: one without a name is made, and is gone when closed."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(preflight.ROOM_BYTES))
        return True
    except OSError:
        return False


def _line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]

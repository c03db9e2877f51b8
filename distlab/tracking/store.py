"""The MLflow store: where it is, what can be seen of it at once, and how it is opened or made.

MLflow is imported only where a store is opened: :func:`check` takes no time.
"""

import logging
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from distlab.errors import DistlabError
from distlab.experiment.options import EXPERIMENT, TrackingOptions
from distlab.masking import mask
from distlab.tracking.sqlite import (
    ARTIFACTS,
    SQLITE,
    alone,
    database,
    default_uri,
    experiments,
    mend_addresses,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


# Tells the MLflow UI to open the experiment as model training and not as one of language models.
EXPERIMENT_KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"

# What two processes that write the same row or table at once are told (SQLite, PostgreSQL, MySQL).
RACES = ("IntegrityError", "UNIQUE constraint", "is locked", "already exists", "duplicate key")
TRIES = 6

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes
    ----------
    client:
        MLflow's client of it.
    uri:
        Its address, with whatever password it holds; :func:`distlab.masking.mask` before it is
        shown.
    experiment, experiment_id:
        The experiment in which runs are recorded and looked for.
    """

    client: "MlflowClient"
    uri: str
    experiment: str
    experiment_id: str

    def write(self, call: Callable[[], _Result]) -> _Result:
        """Do what changes the store, alone where it is a local file, and again after a race.

        MLflow reads a row and then makes it, which fails where another process was faster.
        """
        for again in range(TRIES):
            try:
                with alone(database(self.uri)):
                    return call()
            except Exception as error:
                if again == TRIES - 1 or not any(sign in str(error) for sign in RACES):
                    raise
                time.sleep(0.1 * 2**again)
        raise AssertionError


def address(options: TrackingOptions, folder: Path) -> str:
    """The store's address; a path of SQLite that is relative to ``folder`` becomes a whole one."""
    if not options.uri:
        return default_uri(folder)
    path = database(options.uri)
    if path is None or path.is_absolute():
        return options.uri
    return f"{SQLITE}{(folder / path).resolve()}"


def is_local(options: TrackingOptions) -> bool:
    """Whether :func:`check` has seen all that can be wrong before Ray is worth starting."""
    return not options.uri or database(options.uri) is not None


def check(options: TrackingOptions, folder: Path, make: bool = True) -> None:
    """Refuse what can be seen of a local store without MLflow, in no time.

    Parameters
    ----------
    options, folder:
        The store, as for :func:`open_store`.
    make:
        Whether the store and the experiment may be made.

    Raises
    ------
    DistlabError
        If the file is no database, the experiment was deleted, or what may not be made is missing.
    """
    uri = address(options, folder)
    path = database(uri)
    if path is None:
        return
    if not make and not path.is_file():
        raise DistlabError(
            f"to read from {mask(uri)}",
            "there is no store",
            "the command belongs in the folder that holds mlruns/, or name the store: "
            "tracking.uri=sqlite:////path/to/mlruns/mlflow.db",
        )
    try:
        found = experiments(path)
    except sqlite3.Error as error:
        raise _unusable(uri, error) from error
    name = _asked(options) or _named(found, os.environ["MLFLOW_EXPERIMENT_ID"])
    if name in found:
        _refuse_deleted(uri, name, *found[name])
    elif not make:
        raise _no_experiment(uri, name, list(found))
    if make:
        _refuse_read_only(uri, path)


def open_store(options: TrackingOptions, folder: Path, make: bool = True) -> Store:
    """Open the store and find or create the experiment; fast when called again.

    In a store that was moved as a whole, the addresses of artifacts become those beside the
    database.

    Parameters
    ----------
    options:
        Where to record, and under which experiment.
    folder:
        Folder of the command, for the default store.
    make:
        Whether the store and the experiment are made where they are missing.

    Raises
    ------
    DistlabError
        If the store cannot be opened, or what may not be made is missing.
    """
    check(options, folder, make)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for noisy in ("mlflow", "alembic"):
        logger = logging.getLogger(noisy)
        logger.setLevel(logging.WARNING)
        # To the run's driver.log with everything else, not to the terminal.
        logger.handlers.clear()
        logger.propagate = True
    uri = address(options, folder)
    artifacts, path = None, database(uri)
    try:
        if path is not None:
            if make:
                path.parent.mkdir(parents=True, exist_ok=True)
            artifacts = (path.parent / ARTIFACTS).resolve().as_uri()
            mend_addresses(path, artifacts)
        with alone(path):
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)  # which makes the tables
            found = _experiment(client, _asked(options), uri, artifacts, make)
        return Store(client, uri, *found)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        raise _unusable(uri, error) from error


def _experiment(
    client: "MlflowClient", name: str | None, uri: str, artifacts: str | None, make: bool
) -> tuple[str, str]:
    """Name and id of the experiment, found or created."""
    from mlflow.exceptions import MlflowException

    if name is None:
        number = os.environ["MLFLOW_EXPERIMENT_ID"]
        known = {one.name: (one.experiment_id, "") for one in client.search_experiments()}
        try:
            named = client.get_experiment(number)
        except MlflowException as error:
            if unanswered(error):
                raise
            return _named(known, number), number
        _refuse_deleted(uri, named.name, named.experiment_id, named.lifecycle_stage)
        return named.name, str(named.experiment_id)
    found = client.get_experiment_by_name(name)
    if found is None and not make:
        raise _no_experiment(uri, name, [one.name for one in client.search_experiments()])
    if found is None:
        tags = {EXPERIMENT_KIND: TRAINING}
        try:
            return name, str(client.create_experiment(name, artifacts, tags))
        except MlflowException:
            # Another process may create it at the same moment.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    _refuse_deleted(uri, name, found.experiment_id, found.lifecycle_stage)
    return name, str(found.experiment_id)


def _asked(options: TrackingOptions) -> str | None:
    """The experiment's name; None where MLflow's own variable gives its id instead."""
    by_id = os.environ.get("MLFLOW_EXPERIMENT_ID")
    return options.experiment or (None if by_id else EXPERIMENT)


def _named(found: dict[str, tuple[str, str]], number: str) -> str:
    """The name of the experiment with this id."""
    for name, (one, _) in found.items():
        if one == number:
            return name
    raise DistlabError(
        f"MLFLOW_EXPERIMENT_ID={number}",
        f"the store has the experiments {', '.join(f'{i} ({n})' for n, (i, _) in found.items())}"
        if found
        else "the store has no experiments yet",
        "unset MLFLOW_EXPERIMENT_ID\nor name the experiment: tracking.experiment=NAME",
    )


def _refuse_read_only(uri: str, path: Path) -> None:
    """A database is written together with files beside it; a new one needs a folder."""
    folder = next(one for one in path.parents if one.exists())
    for needed in (path, folder):
        if needed.exists() and not os.access(needed, os.W_OK, effective_ids=True):
            raise _unusable(uri, PermissionError(f"{needed} may not be written: Permission denied"))
    if not folder.is_dir():
        raise _unusable(uri, NotADirectoryError(f"{folder} is a file, not a folder"))


def _refuse_deleted(uri: str, name: str, number: str, stage: str) -> None:
    """MLflow still finds a deleted experiment by its name, and refuses each run in it."""
    if stage != "deleted":
        return
    known = os.environ.get("MLFLOW_TRACKING_URI") == uri
    where = "" if known else f"MLFLOW_TRACKING_URI={shlex.quote(uri)} "
    raise DistlabError(
        f"tracking.experiment={name} in {mask(uri)}",
        "this experiment was deleted in MLflow, which still has its runs",
        f"{where}python -m mlflow experiments restore --experiment-id {number}\n"
        "or another name: tracking.experiment=NAME",
    )


def _no_experiment(uri: str, name: str, names: list[str]) -> DistlabError:
    """There is nothing to read."""
    others = [one for one in names if one != "Default"]
    return DistlabError(
        f"tracking.experiment={name} in {mask(uri)}",
        f"there is no such experiment; there are {', '.join(sorted(others))}"
        if others
        else "there is no such experiment, and no other",
        f"tracking.experiment={shlex.quote(min(others))}"
        if others
        else "make a study: python -m distlab.launch -m framework=torch,tf repeats=3",
    )


def _unusable(uri: str, error: Exception) -> DistlabError:
    """What MLflow or SQLite says of a store that cannot be opened, in one line."""
    told = mask(str(error).strip()).splitlines()[0]
    fix = (
        "check that the folder or server is there and may be written, "
        "or choose another: tracking.uri=sqlite:////path/to/mlflow.db"
    )
    if "mlflow db upgrade" in told:
        told = told.partition(". Take a backup")[0]
        fix = (
            f"with a copy put aside: python -m mlflow db upgrade {shlex.quote(mask(uri))}\n"
            "where a newer MLflow made it: pip install --upgrade mlflow"
        )
    elif uri.startswith(("file:", "/", ".")) or "://" not in uri:
        folder = Path(unquote(urlsplit(uri).path)).resolve()
        told = "MLflow keeps no runs in plain folders any more"
        fix = f"tracking.uri={shlex.quote(f'{SQLITE}{folder}/mlflow.db')}"
    elif uri.startswith("http"):
        cause = re.search(r"\[Errno -?\d+\] ([^'\")]+)|timed out", told)
        told = f"it does not answer: {(cause[1] or cause[0]) if cause else told}"
        fix = (
            "check that the server runs and that the address is right\n"
            "a slow server: MLFLOW_HTTP_REQUEST_TIMEOUT=60 before the command\n"
            "or record without it: tracking.uri=sqlite:////path/to/mlflow.db"
        )
    return DistlabError(f"to record runs in tracking.uri={mask(uri)}", told, fix)


def unanswered(error: BaseException) -> bool:
    """Whether a server did not answer, or broke off; not that it answered with a refusal."""
    import requests
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, MlflowException):
        return not isinstance(error, RestException) and "API request to" in str(error)
    return isinstance(error, requests.ConnectionError | requests.Timeout)


def now_ms() -> int:
    """MLflow's timestamps: milliseconds since 1970."""
    return int(time.time() * 1000)

"""The MLflow store: where it is, and how it is opened or made."""

import contextlib
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from distlab import __version__
from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.outcome import environment

STORE = "mlruns"

# Tells the MLflow UI to open the experiment as model training and not as one of language models.
EXPERIMENT_KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"


def default_uri(folder: Path) -> str:
    """SQLite below ``folder``: ``mlruns/mlflow.db``."""
    return f"sqlite:///{(folder / STORE / 'mlflow.db').resolve()}"


def prepare(options: TrackingOptions, folder: Path) -> tuple[MlflowClient, str]:
    """Open the store and find or create the experiment; fast when called again.

    Parameters
    ----------
    options:
        Where to record, and under which experiment.
    folder:
        Folder of the command, for the default store.

    Returns
    -------
    tuple
        The client and the experiment's id.

    Raises
    ------
    DistlabError
        If the store cannot be opened.
    """
    for noisy in ("mlflow", "alembic"):
        logger = logging.getLogger(noisy)
        logger.setLevel(logging.WARNING)
        # To the run's driver.log with everything else, not to the terminal.
        logger.handlers.clear()
        logger.propagate = True
    uri = options.uri or default_uri(folder)
    artifacts = None
    try:
        store = None
        if uri.startswith("sqlite:///"):
            store = Path(uri.removeprefix("sqlite:///")).parent
            store.mkdir(parents=True, exist_ok=True)
            artifacts = (store / "artifacts").resolve().as_uri()
        mlflow.set_tracking_uri(uri)
        with _alone(store):
            client = MlflowClient(uri)
        return client, _experiment_id(client, options.experiment, artifacts)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        raise DistlabError(
            f"to record runs in tracking.uri={uri}",
            str(error).strip().splitlines()[0],
            "check that the folder or server is there and may be written, "
            "or choose another: tracking.uri=sqlite:////path/to/mlflow.db",
        ) from error


def _experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Find or create the experiment; another process may create it at the same moment."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifacts, {EXPERIMENT_KIND: TRAINING}))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


@contextlib.contextmanager
def _alone(store: Path | None) -> Iterator[None]:
    """Keep other processes from creating MLflow's tables in ``store`` during the block."""
    if store is None:
        yield
        return
    with (store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def origin() -> dict[str, str]:
    """Who makes a run with what, as tags."""
    commit = environment.git_commit()
    return {
        "mlflow.user": environment.user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "distlab.launch",
        "distlab_version": __version__,
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }


def now_ms() -> int:
    """MLflow's timestamps: milliseconds since 1970."""
    return int(time.time() * 1000)

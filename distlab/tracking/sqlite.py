"""A store that is a file of this machine: where it lies, what is in it, who may write it."""

import contextlib
import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    pass


_log = logging.getLogger(__name__)
STORE = "mlruns"
ARTIFACTS = "artifacts"
SQLITE = "sqlite:///"


def default_uri(folder: Path) -> str:
    """SQLite below ``folder``: ``mlruns/mlflow.db``."""
    return f"{SQLITE}{(folder / STORE / 'mlflow.db').resolve()}"


def database(uri: str) -> Path | None:
    """The file of a local store; None for a server."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def experiments(path: Path) -> dict[str, tuple[str, str]]:
    """Id and stage (``active``, ``deleted``) of each experiment; none in a file without tables."""
    if not path.is_file():
        return {}
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        if not db.execute("select 1 from sqlite_master where name = 'alembic_version'").fetchone():
            return {}
        rows = db.execute("select name, experiment_id, lifecycle_stage from experiments")
        return {name: (str(number), stage) for name, number, stage in rows}


def mend_addresses(path: Path, artifacts: str) -> None:
    """Let a store that was moved or copied as a whole find its artifacts beside its database.

    MLflow keeps whole addresses and has no call to change them. Those change that end as distlab's
    do, in a folder ``artifacts``, where that isn't there any more, or where the artifacts of the
    experiment's latest run are found beside this database.
    """
    if not path.is_file():
        return
    beside = path.parent / ARTIFACTS
    try:
        with (
            alone(path),
            contextlib.closing(sqlite3.connect(path, timeout=20)) as database,
            database,
        ):
            if not database.execute(
                "select 1 from sqlite_master where name = 'logged_models'"
            ).fetchone():
                return
            for number, place in database.execute(
                "select experiment_id, artifact_location from experiments"
                " where artifact_location like 'file:%/artifacts' and artifact_location <> ?",
                [artifacts],
            ).fetchall():
                runs = database.execute(
                    "select run_uuid from runs where experiment_id = ?"
                    " order by start_time desc limit 20",
                    [number],
                ).fetchall()
                here = any((beside / run).is_dir() for (run,) in runs)
                if not here and Path(unquote(urlsplit(place).path)).exists():
                    continue
                for table, column in (
                    ("experiments", "artifact_location"),
                    ("runs", "artifact_uri"),
                    ("logged_models", "artifact_location"),
                ):
                    database.execute(
                        f"update {table} set {column} = ? || substr({column}, ?)"
                        f" where experiment_id = ? and substr({column}, 1, ?) = ?",
                        [artifacts, len(place) + 1, number, len(place), place],
                    )
    except (OSError, sqlite3.Error):
        _log.info("the addresses of artifacts in %s stay as they are", path, exc_info=True)


@contextlib.contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """Keep other processes from writing in a local store during the block."""
    with contextlib.ExitStack() as held:
        # Without a lock where none can be had: only the folder's owner needs one.
        with contextlib.suppress(OSError):
            if path is not None:
                lock = held.enter_context((path.parent / ".lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield

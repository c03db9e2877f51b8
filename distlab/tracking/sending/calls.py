"""What is to be done in MLflow, as data that a file can keep, and the doing of it."""

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distlab.tracking.store import Store, now_ms

if TYPE_CHECKING:
    pass


Call = dict[str, Any]
"""``call`` names a function of :data:`SENDERS`, ``run`` the run that it is about."""


def batch(
    run: str,
    metrics: Iterable[tuple[str, float, int]] = (),
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Call:
    """Metrics (name, value, step), parameters and tags of a run, of this moment."""
    now = now_ms()
    return {
        "call": "batch",
        "run": run,
        # JSON has no NaN and no infinity.
        "metrics": [
            [name, value if math.isfinite(value) else str(value), now, step]
            for name, value, step in metrics
        ],
        "params": {name: str(value) for name, value in (params or {}).items()},
        "tags": dict(tags or {}),
    }


def create(store: Store, call: Call) -> str:
    """Make a run, and give its id."""
    run = store.write(
        lambda: store.client.create_run(
            store.experiment_id, call["time"], call["tags"], call["name"]
        )
    )
    return str(run.info.run_id)


def send(call: Call, store: Store, folder: Path | None) -> None:
    """Do a call.

    Parameters
    ----------
    call:
        What to do.
    store:
        Where.
    folder:
        The folder of the run, for the files that it has; those that are gone are left out.
    """
    SENDERS[call["call"]](store, call, folder or Path())


def _batch(store: Store, call: Call, folder: Path) -> None:
    from mlflow.entities import Metric, Param, RunTag

    store.write(
        lambda: store.client.log_batch(
            call["run"],
            [Metric(name, float(value), time, step) for name, value, time, step in call["metrics"]],
            [Param(name, value) for name, value in call["params"].items()],
            [RunTag(name, value) for name, value in call["tags"].items()],
        )
    )


def _data(store: Store, call: Call, folder: Path) -> None:
    from mlflow.entities import Dataset, DatasetInput

    data = Dataset(call["name"], call["digest"], "local", call["source"])
    store.write(lambda: store.client.log_inputs(call["run"], [DatasetInput(data)]))


def _file(store: Store, call: Call, folder: Path) -> None:
    path = folder / call["path"]
    if path.is_dir():
        store.client.log_artifacts(call["run"], str(path), call["to"])
    elif path.exists():
        store.client.log_artifact(call["run"], str(path))


def _text(store: Store, call: Call, folder: Path) -> None:
    store.client.log_text(call["run"], call["text"], call["to"])


def _model(store: Store, call: Call, folder: Path) -> None:
    from mlflow.entities import LoggedModelOutput

    path = folder / call["path"]
    if not path.exists():
        return
    client, run = store.client, call["run"]
    model = store.write(
        lambda: client.create_logged_model(store.experiment_id, name="model", source_run_id=run)
    )
    client.log_model_artifacts(model.model_id, str(path))
    output = LoggedModelOutput(model.model_id, call["step"])
    store.write(lambda: client.finalize_logged_model(model.model_id, "READY"))
    store.write(lambda: client.log_outputs(run, [output]))
    shutil.rmtree(path)


def _views(store: Store, call: Call, folder: Path) -> None:
    def write() -> None:
        for name, value in call["tags"].items():
            store.client.set_experiment_tag(store.experiment_id, name, value)

    store.write(write)


def end(store: Store, call: Call, folder: Path) -> None:
    """End a run, with a status and at a time."""
    store.write(lambda: store.client.set_terminated(call["run"], call["status"], call["time"]))


SENDERS: dict[str, Callable[[Store, Call, Path], None]] = {
    "batch": _batch,
    "data": _data,
    "file": _file,
    "text": _text,
    "model": _model,
    "views": _views,
    "end": end,
}


def relative(path: Path, folder: Path | None) -> str:
    """A path as a call keeps it: from the folder of its run, which may be moved."""
    if folder is not None and path.resolve().is_relative_to(folder.resolve()):
        return str(path.resolve().relative_to(folder.resolve()))
    return str(path.resolve())


def files(
    run: str, folder: Path | None, paths: Sequence[Path], to: str | None = None
) -> list[Call]:
    """Files and folders of a run as artifacts; a folder keeps its name unless ``to`` is given."""
    return [
        {"call": "file", "run": run, "path": relative(path, folder), "to": to or path.name}
        for path in paths
    ]

"""What MLflow is told, as calls that are plain data, so that a file can keep what wasn't sent.

MLflow's own asynchronous logging drops what a server doesn't take. Here every call stands in a
file beside the run before it is sent (``mlflow-RUN.jsonl``, one JSON object a line), and the file
is removed when all are sent:

- the first line is the *head*: the store, the experiment, the id of the run, whether MLflow gave
  that id (``made``), and the call that makes the run;
- a line with ``n`` is the n-th call, ``{"sent": n}`` says that MLflow has it;
- ``{"became": ID}`` says under which id MLflow made a run that it had not known.
"""

import contextlib
import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from distlab import files as whole
from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.masking import HIDDEN
from distlab.outcome.restored import bounds
from distlab.tracking.store import Store, now_ms, open_store, unanswered

if TYPE_CHECKING:
    from mlflow import MlflowClient

Call = dict[str, Any]
"""``call`` names a function of :data:`SENDERS`, ``run`` the run that it is about."""

FILES = "mlflow-*.jsonl"
TEXTS = (".json", ".md", ".html", ".csv", ".yaml", ".txt")
"""Files of a run's folder in which another id of the run is written when it gets one."""


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


def _end(store: Store, call: Call, folder: Path) -> None:
    store.write(lambda: store.client.set_terminated(call["run"], call["status"], call["time"]))


SENDERS: dict[str, Callable[[Store, Call, Path], None]] = {
    "batch": _batch,
    "data": _data,
    "file": _file,
    "text": _text,
    "model": _model,
    "views": _views,
    "end": _end,
}


class Kept:
    """The file of a run whose calls were not all sent, open and locked.

    Raises
    ------
    BlockingIOError
        If the process that writes it still runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] = path.open("r+", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.calls: dict[int, Call] = {}
        self._sent: set[int] = set()
        self.head: dict[str, Any] = {}
        for text in self._file:
            # A line may be cut off, the last of a process that was killed or of a full disk.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                # A whole file may be a text here, such as the plan of a large study.
                line = bounds.parsed(text, bounds.MOST_BYTES)
                if "head" in line:
                    self.head = _head(line["head"])
                elif "sent" in line:
                    self._sent.add(int(line["sent"]))
                elif "became" in line:
                    self.head.update(run=str(line["became"]), made=True)
                    self._sent.clear()
                else:
                    self.calls[int(line.pop("n"))] = line
        self.own = self.head.get("run", "")

    @property
    def left(self) -> list[tuple[int, Call]]:
        """The calls that MLflow doesn't have yet."""
        return [(n, call) for n, call in self.calls.items() if n not in self._sent]

    def settle(self, store: Store) -> str:
        """Make the run if the store doesn't know it; returns its id there."""
        if not (self.head["made"] and _knows(store.client, self.head["run"])):
            run = create(store, self.head["create"])
            self._write({"became": run})
            self.head.update(run=run, made=True)
            self._sent.clear()
        return str(self.head["run"])

    def send(self, store: Store, ids: Mapping[str, str], say: Callable[[str], None]) -> bool:
        """Send what is left; returns whether nothing is left then."""
        run = self.head["run"]
        for number, call in self.left:
            try:
                told = json.loads(_translated(json.dumps(call), ids))
                _check_inside(told, self.path.parent)
                send(told, store, self.path.parent)
            except Exception as error:
                if unanswered(error):
                    raise
                why = str(error).partition("\n")[0] or repr(error)
                say(f"MLflow refuses a record of {self.path.parent}: {why}")
                continue
            self._sent.add(number)
            self._write({"sent": number})
        ended = any(call.get("call") == "end" for call in self.calls.values())
        if not ended and store.client.get_run(run).info.status == "RUNNING":
            # Its process was killed.
            last = int(self.path.stat().st_mtime * 1000)
            _end(store, {"run": run, "status": "KILLED", "time": last}, Path())
        return not self.left

    def close(self, remove: bool) -> None:
        """Let it go, and remove it where all is sent."""
        if remove:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.seek(0, 2)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _head(found: Any) -> dict[str, Any]:
    """The head of a file; empty if it lacks what a run is made of."""
    whole = {**found, "create": {**found["create"]}}
    texts = (whole["uri"], whole["experiment"], whole["run"], whole["create"]["name"])
    sound = all(isinstance(text, str) for text in texts)
    sound = sound and isinstance(whole["create"]["time"], int) and "made" in whole
    return whole if sound and isinstance(whole["create"]["tags"], dict) else {}


def _check_inside(call: Call, folder: Path) -> None:
    """Refuse to send, and to remove, what lies elsewhere: the file may be somebody else's work.

    Raises
    ------
    ValueError
        Naming the path.
    """
    path = call.get("path")
    if path is not None and not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is not in the folder of the run")


def sync(folder: Path, tracking: TrackingOptions, home: Path, say: Callable[[str], None]) -> bool:
    """Send all that was kept in a folder and below it.

    A run that the store knows is completed under its id. One that it doesn't know, because the
    server was away when the run began or has lost it, is made; where its old id stands in the
    folder's files and in other calls, the new one takes its place.

    Parameters
    ----------
    folder:
        The folder of a run, of a study, or of many.
    tracking:
        Where to; what it leaves open is where the runs were to be recorded.
    home:
        Folder of the command.
    say:
        What shows a line to the user.

    Returns
    -------
    bool
        Whether everything is sent.

    Raises
    ------
    DistlabError
        If the store doesn't answer, or its address holds a password, which is not kept.
    """
    kept: list[Kept] = []
    whole = True
    for path in sorted(path for path in folder.rglob(FILES) if path.is_file()):
        try:
            kept.append(Kept(path))
        except BlockingIOError:
            say(f"{path.parent}: its run has not ended")
            whole = False
    kept = [one for one in kept if one.head]
    kept.sort(key=lambda one: one.head["create"]["time"])
    try:
        stores: dict[tuple[str, str], Store] = {}
        homes = [_store(one, folder, tracking, home, stores) for one in kept]
        ids: dict[str, str] = {}
        for one, store in zip(kept, homes, strict=True):
            run = one.settle(store)
            if run != one.own:
                ids[one.own] = run
        _rewrite(folder, ids)
        # A study's own page, which is about its runs, comes after them.
        for one, store in sorted(
            zip(kept, homes, strict=True), key=lambda pair: -len(pair[0].path.parts)
        ):
            done = one.send(store, ids, say)
            whole = whole and done
            one.close(remove=done)
            if done:
                say(f"sent: {one.path.parent} (run {one.head['run']})")
    except Exception as error:
        if not unanswered(error):
            raise
        raise DistlabError(
            f"to send what is kept in {folder}",
            f"MLflow does not answer: {str(error).splitlines()[0]}",
            f"when it does: python -m distlab.tracking sync {folder}",
        ) from error
    finally:
        for one in kept:
            one.close(remove=False)
    return whole


def _store(
    one: Kept,
    folder: Path,
    tracking: TrackingOptions,
    home: Path,
    stores: dict[tuple[str, str], Store],
) -> Store:
    """The store of a file's run."""
    uri = tracking.uri or one.head["uri"]
    if HIDDEN in uri:
        uri = os.environ.get("MLFLOW_TRACKING_URI", uri)
    if HIDDEN in uri:
        raise DistlabError(
            f"to send what is kept in {folder} to {uri}",
            "passwords are not kept",
            f"python -m distlab.tracking sync {folder} tracking.uri=ADDRESS",
        )
    experiment = tracking.experiment or one.head["experiment"]
    if (uri, experiment) not in stores:
        stores[uri, experiment] = open_store(TrackingOptions(uri, experiment), home)
    return stores[uri, experiment]


def _knows(client: "MlflowClient", run: str) -> bool:
    """Whether a store has a run of this id."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _translated(text: str, ids: Mapping[str, str]) -> str:
    for old, new in ids.items():
        text = text.replace(old, new)
    return text


def _rewrite(folder: Path, ids: Mapping[str, str]) -> None:
    """Put new ids in place of old ones in a folder's texts."""
    for path in folder.rglob("*") if ids else ():
        if path.suffix in TEXTS and path.is_file():
            text = path.read_text(encoding="utf-8")
            if (new := _translated(text, ids)) != text:
                whole.write(path, new)


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

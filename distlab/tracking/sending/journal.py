"""The file beside a run that keeps each call for MLflow until it is sent.

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from distlab.outcome.restored import bounds
from distlab.tracking.sending import calls
from distlab.tracking.sending.calls import Call
from distlab.tracking.store import Store, unanswered

if TYPE_CHECKING:
    from mlflow import MlflowClient


FILES = "mlflow-*.jsonl"


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
            run = calls.create(store, self.head["create"])
            self._write({"became": run})
            self.head.update(run=run, made=True)
            self._sent.clear()
        return str(self.head["run"])

    def send(self, store: Store, ids: Mapping[str, str], say: Callable[[str], None]) -> bool:
        """Send what is left; returns whether nothing is left then."""
        run = self.head["run"]
        for number, call in self.left:
            try:
                told = json.loads(translated(json.dumps(call), ids))
                _check_inside(told, self.path.parent)
                calls.send(told, store, self.path.parent)
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
            calls.end(store, {"run": run, "status": "KILLED", "time": last}, Path())
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


def translated(text: str, ids: Mapping[str, str]) -> str:
    """A text with new ids of runs in place of old ones."""
    for old, new in ids.items():
        text = text.replace(old, new)
    return text

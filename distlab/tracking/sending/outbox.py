"""What a run or a study has for MLflow goes through here, so that training never waits for it.

Each call stands in a file first (:mod:`distlab.tracking.sending.journal`); one thread sends.
When a server stops answering, a line says so once, the command goes on, and what wasn't sent stays
in the file.
"""

import contextlib
import fcntl
import json
import logging
import os
import queue
import shlex
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.masking import mask, masked
from distlab.tracking.sending import calls, journal
from distlab.tracking.sending.calls import Call
from distlab.tracking.sending.sync import sync
from distlab.tracking.store import Store, now_ms, unanswered

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
SQLALCHEMYS = ("(raised as a result of", "(Background on this error")
"""How lines begin that SQLAlchemy adds to what a database says."""
PROBE_S = 3
"""How long a server that was lost is given to answer before the next run."""


class Connection:
    """A command's store, and whether it answers; all runs of the command share it.

    Attributes
    ----------
    lost:
        What was said last where it doesn't answer, else empty.
    begun:
        Cell and repeat of each run of a study that has a run in MLflow, or will have one.

    Parameters
    ----------
    store:
        The opened store.
    folder:
        The folder of the command's records, which the user is told to send later.
    say:
        What shows a line to the user.
    """

    def __init__(
        self, store: Store, folder: Path | None = None, say: Callable[[str], None] = _log.warning
    ) -> None:
        self.store, self._folder, self._say = store, folder, say
        self.lost = ""
        self.begun: set[tuple[str, int]] = set()
        self._was_lost = False
        self._refused: set[bool] = set()

    @property
    def _later(self) -> str:
        """How to send what was kept; the store's password, which isn't, must be given again."""
        uri = self.store.uri
        known = mask(uri) == uri or os.environ.get("MLFLOW_TRACKING_URI") == uri
        command = ["python", "-m", "distlab.tracking", "sync", str(self._folder)]
        return shlex.join([*command, *([] if known else ["tracking.uri=ADDRESS"])])

    def lose(self, error: BaseException) -> None:
        """The server doesn't answer; nobody asks it any more until it is tried again."""
        _log.info("MLflow does not answer", exc_info=error)
        if not self.lost:
            self._was_lost = True
            self.lost = mask(str(error)).partition("\n")[0] or repr(error)
            kept = f": the records are kept in {self._folder}; send them with: {self._later}"
            self._say(
                f"MLflow at {mask(self.store.uri)} does not answer{kept if self._folder else ''}"
            )

    def refused(self, error: BaseException, kept: bool) -> None:
        """The store answers, and doesn't take a record; said once of what is kept and what isn't.

        Parameters
        ----------
        error:
            What it says.
        kept:
            Whether the record is in the file from which it can be sent later.
        """
        _log.info("MLflow refuses a record", exc_info=error)
        if kept not in self._refused and not self.lost:
            self._refused.add(kept)
            if kept:
                where = f"; it is kept in {self._folder}, try again with: {self._later}"
            else:
                where = f", and {self._folder} does not keep it" if self._folder else ""
            self._say(f"MLflow refuses a record: {_why(error)}{where}")

    def answers(self) -> bool:
        """Whether the store answers; one that was lost is asked again, for a few seconds."""
        if self.lost:
            with _impatient(), contextlib.suppress(Exception):
                self.store.client.get_experiment(self.store.experiment_id)
                self.lost = ""
        return not self.lost

    def ask(self, question: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        """What the store answers, or something else where it doesn't."""
        if not self.lost:
            try:
                return question()
            except Exception as error:
                if not unanswered(error):
                    raise
                self.lose(error)
        return otherwise

    def catch_up(self) -> None:
        """At the end of a command: send what was kept, if the server answers again."""
        folder = self._folder
        if folder is None or not any(folder.rglob(journal.FILES)):
            return
        if self._was_lost and self.answers():
            with contextlib.suppress(DistlabError):
                options = TrackingOptions(self.store.uri, self.store.experiment)
                if sync(folder, options, Path.cwd(), _log.info):
                    self._say("MLflow answers again, and has all records now")
                    return
        self._say(f"not all records are in MLflow yet; send them with: {self._later}")


class Outbox:
    """The calls of one run, kept and sent in their order.

    Attributes
    ----------
    run_id:
        Its id: MLflow's, or one of its own where MLflow didn't answer when the run began.

    Parameters
    ----------
    connection:
        The command's store.
    folder:
        The folder of the run, in which its calls are kept; None to keep nothing.
    name, tags:
        Of the run.
    run_id:
        A run to go on with; None makes one.
    """

    def __init__(
        self,
        connection: Connection,
        folder: Path | None,
        name: str,
        tags: Mapping[str, str],
        run_id: str | None = None,
    ) -> None:
        self.connection, self.folder = connection, folder
        self._make = {"name": mask(name), "tags": masked(dict(tags)), "time": now_ms()}
        self._known = run_id is not None
        self.run_id = run_id or self._made() or uuid.uuid4().hex
        self._unsent: set[int] = set()
        self._unkept: set[int] = set()
        self._count = 0
        self._numbering = threading.Lock()
        self._calls: queue.SimpleQueue[tuple[int, Call] | None] = queue.SimpleQueue()
        self._quiet = threading.Lock()
        self._file: IO[str] | None = None
        self._path = folder / f"mlflow-{self.run_id[:8]}.jsonl" if folder else None
        if not self._known:
            self._open()
        self._thread = threading.Thread(target=self._work, daemon=True, name="outbox")
        self._thread.start()

    def _made(self) -> str | None:
        """Make the run in MLflow; None where that can't be done now."""
        if self.connection.answers():
            try:
                run_id = calls.create(self.connection.store, self._make)
                self._known = True
                return run_id
            except Exception as error:
                self._failed(error)
        return None

    def _open(self) -> None:
        """Begin the file."""
        store = self.connection.store
        head = {
            "uri": mask(store.uri),
            "experiment": store.experiment,
            "run": self.run_id,
            "made": self._known,
            "create": self._make,
        }
        if self._path is not None:
            with self._told():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a", encoding="utf-8")
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._write({"head": head})

    def put(self, *calls: Call) -> None:
        """Keep calls and have them sent; returns at once. Several threads may have some."""
        told = [_told_by(call) for call in calls]
        with self._numbering:
            if self._count == 0 and self._known:
                self._open()
            for call in told:
                self._count += 1
                with self._quiet:
                    self._unsent.add(self._count)
                if not self._write({"n": self._count, **call}):
                    self._unkept.add(self._count)
                self._calls.put((self._count, call))

    def batch(self, **values: Any) -> None:
        """Metrics, parameters and tags of the run: see :func:`~.calls.batch`."""
        self.put(calls.batch(self.run_id, **values))

    def text(self, text: str, name: str) -> None:
        """A file of the run's artifacts."""
        self.put({"call": "text", "run": self.run_id, "text": text, "to": name})

    def end(self, status: str) -> None:
        """The run's end, now."""
        self.put({"call": "end", "run": self.run_id, "status": status, "time": now_ms()})

    def flush(self) -> bool:
        """Wait until all is sent that can be sent now; each call is bounded. Whether it was all."""
        done = threading.Event()
        self._calls.put((0, {"call": "done", "event": done}))
        done.wait()
        return self._known and not self._unsent

    def close(self) -> None:
        """Wait for the last call, and remove the file if nothing is left in it."""
        self._calls.put(None)
        self._thread.join()
        if self._file is not None:
            if self._path is not None and self._known and not self._unsent:
                self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._file.close()

    def _work(self) -> None:
        """The thread: send in order what comes, and nothing more once the server is lost."""
        for number, call in iter(self._calls.get, None):
            if number == 0:
                call["event"].set()
            elif self._known and not self.connection.lost:
                try:
                    calls.send(call, self.connection.store, self.folder)
                except Exception as error:
                    self._failed(error, number)
                    continue
                with self._quiet:
                    self._unsent.discard(number)
                self._write({"sent": number})

    def _failed(self, error: Exception, number: int = 0) -> None:
        if unanswered(error):
            self.connection.lose(error)
        else:
            self.connection.refused(error, self.folder is not None and number not in self._unkept)

    def _write(self, line: Mapping[str, Any]) -> bool:
        """One line into the file, from the caller's thread or the sender's; whether it is there."""
        if self._file is not None:
            with self._told(), self._quiet:
                self._file.write(json.dumps(line, default=str) + "\n")
                self._file.flush()
                return True
        return False

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A file that can't be written is a fault of the disk, which ends no training."""
        try:
            yield
        except OSError as error:
            _log.info("%s cannot be written: %s", self._path, error)


def _told_by(call: Call) -> Call:
    """A call without secrets: what is shown of it is masked, what it works with is not."""
    shown = ("params", "tags", "text", "source")
    return {name: masked(value) if name in shown else value for name, value in call.items()}


def _why(error: BaseException) -> str:
    """What a store says, in its first line that is not about SQLAlchemy itself."""
    lines = [line for line in mask(str(error)).splitlines() if not line.startswith(SQLALCHEMYS)]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """MLflow's calls within the block are tried once, for a few seconds."""
    names = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PROBE_S),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""What the runs of one command share: the store, the workers that are kept, the data sets."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from distlab.data import asked, sources
from distlab.data.asked import DataOptions
from distlab.data.dataset import Dataset
from distlab.experiment.options import Options
from distlab.runs.shown.progress import Display
from distlab.tracking import store

if TYPE_CHECKING:
    from distlab.cluster.pool import Jobs
    from distlab.tracking.sending.outbox import Connection


@dataclass
class Session:
    """What the runs of one command share: the workers that are kept, and the data sets.

    Attributes
    ----------
    jobs:
        The workers, from the first run on.
    connection:
        The store; None until a run by itself opens it.
    """

    jobs: "Jobs | None" = None
    connection: "Connection | None" = None
    _datasets: dict[str, Dataset] = field(default_factory=dict)

    def dataset(self, options: DataOptions, progress: bool) -> Dataset:
        """Load a data set, or take it from an earlier run."""
        key = repr(options)
        if key not in self._datasets:
            others = asked.given(options)
            if options.shape is not None:
                others["shape"] = tuple(options.shape)
            directory = others.pop("dir", None)
            found = sources.load(options.name, directory, progress, **others)
            # What is known of it from now on names the same data.
            self._datasets[repr(asked.told(options, found.form))] = self._datasets[key] = found
        return self._datasets[key]

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error: object) -> None:
        if self.jobs is not None:
            self.jobs.__exit__(*error)


def prepare_tracking(options: Options) -> store.Store:
    """Import MLflow and open its store, which takes as long as starting Ray does.

    What dead processes left running there is ended.
    """
    opened = store.open_store(options.tracking, Path.cwd())
    from distlab.tracking import owner

    owner.end_orphans(opened.client)
    return opened


def connected(options: Options, run_dir: Path, display: Display, session: Session) -> "Connection":
    """The command's store, opened by its first run."""
    if session.connection is None:
        opened = prepare_tracking(options)
        from distlab.tracking.sending.outbox import Connection

        session.connection = Connection(opened, run_dir, display.say)
    return session.connection

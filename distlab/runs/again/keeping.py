"""What keeps a run's checkpoints while it goes on, so that ``resume=RUN_ID`` can go on with it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distlab.checkpoints import epochs
from distlab.checkpoints.files import EPOCH, STATE, Checkpoints
from distlab.experiment.command_line import words
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import Options
from distlab.masking import mask, masked
from distlab.outcome.events import Checkpoint
from distlab.outcome.record import Record
from distlab.runs.again.resume import Resumed
from distlab.runs.plan import Cell, surroundings
from distlab.runs.recorded_plan import plain

if TYPE_CHECKING:
    from distlab.tracking.run_writer import Tracker

_log = logging.getLogger(__name__)
FOLDER = "checkpoints"


class Keeper:
    """Writes a run's epochs and states; a place that cannot be written ends no training.

    Parameters
    ----------
    record:
        Of the run; with ``taken`` it is given the epochs that are kept.
    run_dir:
        The run's folder.
    tracker:
        The run in MLflow, which is told where they are.
    say:
        What shows a line to the user.
    taken:
        The run that goes on; None for a new one.

    Attributes
    ----------
    start:
        What to go on from; None to begin anew.

    Raises
    ------
    DistlabError
        If ``checkpoint.dir`` is an address of no kind that is installed here.
    """

    def __init__(
        self,
        record: Record,
        run_dir: Path,
        tracker: "Tracker",
        say: Callable[[str], None],
        taken: Resumed | None,
    ) -> None:
        options = record.experiment.options
        self._run_id, self._say = tracker.run_id, say
        self._stays = options.checkpoint.dir is not None
        self._failed = False
        self._states = 0
        self.start: Checkpoint | None = None
        if taken is not None:
            self._files = taken.files
            self.start = taken.restore(record, say)
            epoch = self.start.epoch if self.start else 0
            self._states = int(epoch > 0)
            say(f"run {taken.run_id} ({taken.ended}) goes on from epoch {epoch + 1}")
            return
        place = address(options, run_dir, tracker.run_id)
        self._files = Checkpoints(place, options.checkpoint.keep, say)
        about = note(record.experiment, record.dataset.checksum, run_dir)
        if self._done(lambda: self._files.note(about)):
            tracker.checkpoints(place)

    def epoch(self, record: Record, index: int) -> None:
        """Keep what is known of a complete epoch."""
        self._done(lambda: self._files.save(EPOCH, index, epochs.encoded(record, index)))

    def state(self, checkpoint: Checkpoint) -> None:
        """Keep a state, unless the engine has."""
        data = checkpoint.state
        if data is None or self._done(lambda: self._files.save(STATE, checkpoint.epoch, data)):
            self._states += 1

    def end(self) -> None:
        """The run has ended in order: checkpoints in its own folder go, others stay."""
        if not self._stays:
            self._done(self._files.remove)

    def broken_off(self) -> None:
        """Tell how to go on with a run that has not ended in order."""
        if self._states:
            again = [f"resume={self._run_id}", *surroundings(words.typed())]
            self._say(f"go on with: {words.command(again)}")

    def _done(self, act: Callable[[], None]) -> bool:
        """Do something with the files; tells once if that can't be done."""
        try:
            act()
        except Exception as error:  # a store's client raises what it likes
            _log.warning("checkpoints cannot be written", exc_info=True)
            if not self._failed:
                self._failed = True
                why = mask(str(error)).partition("\n")[0]
                self._say(
                    f"checkpoints cannot be written to {mask(self._files.address)}: {why}; the run "
                    "goes on without"
                )
            return False
        return True


def note(experiment: Experiment, checksum: str, run_dir: Path) -> dict[str, Any]:
    """What a run is asked for, as plain data from which another command makes it again."""
    return dict(
        masked(
            {
                "options": plain(Cell(experiment.options, "", checksum)),
                "device": experiment.device,
                "world_size": experiment.world_size,
                "folder": str(run_dir.resolve()),
            }
        )
    )


def address(options: Options, run_dir: Path, run_id: str) -> str:
    """Where the checkpoints of a run are: a folder of its own."""
    if options.checkpoint.dir is None:
        return str((run_dir / FOLDER).resolve())
    place = options.checkpoint.dir.rstrip("/")
    return f"{place if '://' in place else Path(place).expanduser().resolve()}/{run_id}"

"""``resume=RUN_ID``: a run that was broken off goes on, as the same run in MLflow."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distlab.checkpoints import epochs
from distlab.checkpoints.archive import DamagedError
from distlab.checkpoints.files import EPOCH, Checkpoints
from distlab.data.dataset import Dataset
from distlab.errors import DistlabError
from distlab.experiment.frameworks.named import unnamed
from distlab.experiment.names import SURROUNDINGS
from distlab.experiment.options import Device, Options
from distlab.masking import mask
from distlab.outcome.events import Checkpoint
from distlab.outcome.record import Record
from distlab.runs.recorded_plan import restored
from distlab.tracking import store

if TYPE_CHECKING:
    from distlab.tracking.again.taking_up import BrokenOff

_log = logging.getLogger(__name__)
OWN = (*SURROUNDINGS, "resume", "take_over", "hydra.", "framework")
"""What a command may say that goes on with a run; all else is as the run has it.

The framework is named where it is code of the user's own
(:mod:`distlab.experiment.frameworks.named`).
"""


@dataclass(frozen=True)
class Resumed:
    """A run that goes on.

    Attributes
    ----------
    run_id:
        Its id in MLflow.
    options:
        What it was asked for, with the tracking and the cluster of this command.
    files:
        Its checkpoints.
    ended:
        How it ended before.
    checksum:
        That of its data.
    folder:
        Where the command before kept its records, perhaps on another machine.
    """

    run_id: str
    options: Options
    files: Checkpoints
    ended: str
    checksum: str
    folder: Path

    def check(self, dataset: Dataset) -> None:
        """Refuse other data than the run has.

        Raises
        ------
        DistlabError
            If they are.
        """
        if dataset.checksum != self.checksum:
            raise DistlabError(
                f"resume={self.run_id}",
                f"its data have sha256 {self.checksum}, those here {dataset.checksum}",
                "the folder of the same data: data.dir=/path/to/them",
            )

    def take(self, opened: store.Store, say: Callable[[str], None]) -> None:
        """Become its only owner, once all is there that it needs.

        Raises
        ------
        DistlabError
            If another process works at it.
        """
        from distlab.tracking.again import taking_up
        from distlab.tracking.sending.sync import sync

        if self.folder.is_dir():  # the command before may not have sent all
            sync(self.folder, self.options.tracking, Path.cwd(), _log.info)
        taking_up.take_up(opened, self.run_id, self.options.take_over, say)

    def restore(self, record: Record, say: Callable[[str], None]) -> Checkpoint | None:
        """Give a new record the epochs until the newest state that is whole, and give that state.

        Returns
        -------
        Checkpoint
            None where no epoch was kept: then the run begins anew.

        Raises
        ------
        DistlabError
            If what keeps them does not answer.
        """
        try:
            self.files.numbers(EPOCH)
        except OSError as error:
            raise DistlabError(
                f"resume={self.run_id}",
                f"its checkpoints in {mask(self.files.address)} cannot be read: {error}",
                f"when they can: resume={self.run_id}",
            ) from error
        one = record.experiment
        for state, data in self.files.states(one.spec, one.program.moments):
            try:
                epochs.restore(record, [self.files.load(EPOCH, n) for n in range(state.epoch)])
            except (OSError, DamagedError) as error:
                say(f"the state after epoch {state.epoch} cannot be gone on from: {error}")
            else:
                return Checkpoint(0, state.epoch, data)
        return None


def resumed(
    now: Options, overrides: Sequence[str], opened: store.Store, say: Callable[[str], None]
) -> Resumed:
    """A run that was broken off and can go on, with the options that it had.

    Parameters
    ----------
    now:
        The command's options, of which ``tracking``, ``cluster`` and what is named count.
    overrides:
        The command's overrides.
    opened:
        The store.
    say:
        What shows a line to the user.

    Raises
    ------
    DistlabError
        If the command asks for anything else, there is no such run, it cannot go on, or another
        process works at it.
    """
    from distlab.tracking.again import taking_up

    assert now.resume is not None
    others = [one for one in overrides if not one.lstrip("+~").startswith(OWN)]
    if others:
        raise _other(now.resume, others)
    found = taking_up.broken_off(opened, now.resume, now.take_over)
    options, files, about = _asked(found, now, overrides, say)
    checksum = str(about["options"]["data"]["sha256"])
    folder = Path(str(about.get("folder")))
    return Resumed(found.run_id, options, files, found.ended, checksum, folder)


def _asked(
    found: "BrokenOff", now: Options, overrides: Sequence[str], say: Callable[[str], None]
) -> tuple[Options, Checkpoints, dict[str, Any]]:
    """What the run was asked for, where its checkpoints are, and what is noted there."""
    place = found.checkpoints
    if now.checkpoint.dir is not None:
        place = f"{now.checkpoint.dir.rstrip('/')}/{found.run_id}"
    files = Checkpoints(place, now.checkpoint.keep, say)
    try:
        about = files.noted()
        options = _restored(about["options"], replace(now, study=found.run_id))
        size, device = int(about["world_size"]), Device(about["device"])
    except (OSError, DamagedError, KeyError, TypeError, ValueError) as error:
        raise DistlabError(
            f"resume={found.run_id}",
            f"what it was asked for cannot be read in {mask(place)}: {error}",
            "where the checkpoints are now: checkpoint.dir=/path/to/folder-of-run-folders\n"
            "or a new run: leave resume= out",
        ) from error
    frameworks = [one for one in overrides if one.lstrip("+~").startswith("framework")]
    if now.framework != options.framework:
        if frameworks:
            raise _other(found.run_id, frameworks)
        if foreign := unnamed(options.framework):
            raise DistlabError(
                f"resume={found.run_id}",
                "it has code or variables that neither this command nor its installation names:\n"
                + "\n".join(foreign),
                "if they are yours, name them: the framework's options of the command that began "
                f"the run, with resume={found.run_id}",
            )
    named = {one.lstrip("+~").split("=")[0] for one in overrides}
    moved = [name for name in ("dir", "file") if f"data.{name}" in named]
    options = replace(
        options,
        study=None,
        resume=now.resume,
        take_over=now.take_over,
        gpus=options.gpus or size,
        device=device,
        failures=now.failures if "failures.max" in named else options.failures,
        data=replace(options.data, **{name: getattr(now.data, name) for name in moved}),
    )
    return options, Checkpoints(place, options.checkpoint.keep, say), about


def _restored(values: Any, now: Options) -> Options:
    """Options that were noted, read as those of a study's plan are."""
    try:
        return restored(values, now)[0]
    except DistlabError as error:
        raise DistlabError(
            f"resume={now.study}",
            error.found.replace("the plan of the study", "what it was asked for"),
            error.fix.replace(
                "begin a study anew, without study=", "a new run: leave resume= out"
            ).replace(f"study={now.study}", f"resume={now.study}"),
        ) from error


def _other(run_id: str, words: Sequence[str]) -> DistlabError:
    """The error for what a run that goes on cannot be asked for."""
    return DistlabError(
        f"resume={run_id} with {' '.join(words)}",
        "a run goes on as it was begun",
        f"resume={run_id}\nor a new run: {' '.join(words)}",
    )

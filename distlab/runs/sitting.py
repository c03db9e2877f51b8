"""The runs that a study still needs: in which order, in which processes, and how they went."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distlab.cluster import connect
from distlab.console import complain, counted
from distlab.errors import DistlabError, DivergedError, WorkerError, reason
from distlab.experiment.options import Device, flat
from distlab.measure.design import level_ratio, place, repeats_a_group
from distlab.outcome import caveats
from distlab.runs import run
from distlab.runs.contents import check
from distlab.runs.log import driver_log
from distlab.runs.plan import Cell
from distlab.runs.session import Session
from distlab.runs.shown.announcement import foreseen
from distlab.runs.shown.progress import Display

if TYPE_CHECKING:
    from distlab.tracking.study_writer import StudyTracker

NAMED = 6
"""Cells that a line names."""


class Sitting:
    """The runs that a study still needs, one after the other."""

    def __init__(
        self,
        planned: list[Cell],
        tracker: "StudyTracker",
        folder: Path,
        display: Display,
        session: Session,
    ) -> None:
        self._cells, self._tracker, self._session = planned, tracker, session
        self._folder, self._display = folder, display
        self._done: set[tuple[str, int]] = set()
        self._hopeless: set[str] = set()
        self._tried_again: set[tuple[str, int]] = set()
        self._with_baseline: set[str] = set()
        self._added: dict[str, set[str]] = {}
        self._served = 0
        self._start_s: list[float] = []
        self._run_s: list[float] = []
        # Samples/s by cell and group of worker processes.
        self._figures: dict[str, dict[str, list[float]]] = {}
        self.failed = 0

    @property
    def ran(self) -> int:
        """How many runs this sitting has made."""
        return len(self._run_s)

    def complete(self) -> None:
        """Run all that is planned and not yet done."""
        known = self._tracker.load()["runs"]
        self._done = {(summary["cell"], summary["repeat"]) for summary in known}
        for summary in known:
            self._see_to_baseline(summary)
        self._plan_baselines({summary["cell"] for summary in known})
        repeats = max(cell.options.repeats for cell in self._cells)
        if not self._say_what_will_run():
            return
        self._session.connection = self._tracker.connection
        with self._session as session:
            self._display.waiting("starting Ray")
            connect.connect(self._cells[0].options)
            for repeat in range(repeats):
                self._renew(session, repeats)
                been: set[str] = set()
                # The list may still grow while it is gone through: see _see_to_baseline.
                while left := [cell for cell in self._cells if cell.key not in been]:
                    cell = min(left, key=lambda one: place(self._tracker.study, repeat, one.key))
                    been.add(cell.key)
                    if repeat < cell.options.repeats and cell.key not in self._hopeless:
                        self._run(cell, repeat, session)

    def _renew(self, session: Session, repeats: int) -> None:
        """Before a repeat: have new worker processes started if the present ones served enough."""
        ratio = level_ratio([list(groups.values()) for groups in self._figures.values()])
        enough = self._cells[0].options.group_runs or repeats_a_group(
            self._start_s, self._run_s, repeats, ratio
        )
        if self._served >= enough and session.jobs is not None:
            session.jobs.renew()
            self._served = 0
        self._served += 1

    def _plan_baselines(self, known: set[str]) -> None:
        """Add the cells with one worker that those of the plan will be measured against.

        ``known`` are cells with a run, for which :meth:`_see_to_baseline` has seen to it. That a
        run in the store serves is here told by its options; what only a run tells comes after it.
        """
        from distlab.tracking.baselines import has_run_with_one_worker

        new = [cell for cell in self._cells if cell.key not in known]
        if not new:
            return
        self._display.waiting("starting Ray")
        resources = connect.connect(new[0].options)
        for cell in new:
            try:
                experiment = connect.place(cell.options, resources)
            except DistlabError:
                continue  # told when it is its turn
            device = Device(experiment.device)
            alone = cell.alone(device)
            if alone.key in self._added:
                self._added[alone.key].add(cell.key)
            elif experiment.world_size > 1 and not self._has_alone(cell, device):
                told = {**flat(alone.options), "execution": alone.execution}
                told["data_sha256"] = alone.checksum
                store = self._tracker.connection
                if not store.ask(partial(has_run_with_one_worker, store.store, told), False):
                    self._add(alone, cell)

    def _has_alone(self, cell: Cell, device: Device) -> bool:
        """Whether the study has the cell with one worker on a device."""
        key = cell.alone(device).key
        return any(one.is_alone(device) and one.alone(device).key == key for one in self._cells)

    def _add(self, alone: Cell, cell: Cell) -> None:
        """Add a cell with one worker, which another is measured against."""
        self._cells.append(alone)
        self._added[alone.key] = {cell.key}

    def _say_what_will_run(self) -> bool:
        """One line on the study; returns whether anything is left to be run."""
        total, done = self._progress()
        baselines = sum(one.options.repeats for one in self._cells if one.key in self._added)
        self._display.say(
            f"study {self._tracker.study}: "
            f"{counted(len(self._cells), 'cell')}, {counted(total, 'run')}"
            f"{f', {baselines} of them baselines' if baselines else ''}"
            f"{f', {done} of them done' if done else ''}"
        )
        if len(self._cells) > 1 and total > len(self._cells):
            self._display.say("order: drawn anew in each repeat, from the study's id")
        if done < total and (foreseen := self._foreseen()):
            self._display.say(f"not to be ranked: {foreseen}")
        return done < total

    def _foreseen(self) -> str:
        """The cells that no claim can be made of here, each with the reason; nothing without."""
        self._display.waiting("starting Ray")
        resources = connect.connect(self._cells[0].options)
        found: dict[str, list[str]] = {}
        for cell in self._cells:
            try:
                caveat = foreseen(connect.place(cell.options, resources))
            except DistlabError:
                continue  # told when it is its turn
            if caveat is not None:
                found.setdefault(str(caveat), []).append(cell.label)
        return "; ".join(f"{_few(labels)}, {why}" for why, labels in found.items())

    def _progress(self) -> tuple[int, int]:
        """How many runs the cells have in all, and how many of them are done."""
        all_runs = {
            (cell.key, repeat) for cell in self._cells for repeat in range(cell.options.repeats)
        }
        return len(all_runs), len(all_runs & self._done)

    def _run(self, cell: Cell, repeat: int, session: Session) -> None:
        """One run, unless it is done; a failure is recorded and the study goes on."""
        from distlab.tracking.run_writer import Part

        if (cell.key, repeat) in self._done:
            return
        position = self._cells.index(cell)
        part = Part(self._tracker.study, cell.key, repeat, position, self._which(cell, repeat))
        run_dir = self._folder / cell.folder
        if cell.options.repeats > 1:
            run_dir = run_dir / f"repeat-{repeat}"
        try:
            with driver_log(run_dir):
                check(cell, session.dataset(cell.options.data, self._display.live))
                summary = run.execute(
                    cell.options, run_dir, time.time(), self._display, session, part
                )
        except (DistlabError, WorkerError) as error:
            passing = error.may_pass or isinstance(error, WorkerError)
            again = passing and (cell.key, repeat) not in self._tried_again
            self.failed += not again
            if isinstance(error, DistlabError):
                if not error.may_pass and not isinstance(error, DivergedError):
                    self._give_up(cell)
                error.fix = error.fix.replace("{command}", "python -m distlab.launch ...")
            self._display.close()
            tried = "; it is tried once more" if again else ""
            self._display.say(f"failed: {self._which(cell, repeat)}{tried}")
            complain(error)
            parameters = {**flat(cell.options), "execution": cell.execution, "data": cell.data}
            self._tracker.failed(part, parameters, reason(error))
            if again:
                self._tried_again.add((cell.key, repeat))
                self._run(cell, repeat, session)
            return
        self._tracker.ran(summary)
        self._done.add((cell.key, repeat))
        if summary["group_run"] == 0:
            self._start_s.append(summary["startup_s"])
        self._run_s.append(summary["wall_s"] - summary["startup_s"])
        groups = self._figures.setdefault(cell.key, {})
        groups.setdefault(str(summary["group"]), []).append(summary["throughput_samples_per_s"])
        self._display.say(self._line(cell, repeat, summary))
        self._see_to_baseline(summary, cell)

    def _give_up(self, cell: Cell) -> None:
        """Run a cell no more, because a user's mistake is no better the second time."""
        self._hopeless.add(cell.key)
        self._hopeless |= {
            added for added, needed_by in self._added.items() if needed_by <= self._hopeless
        }

    def _line(self, cell: Cell, repeat: int, summary: dict[str, Any]) -> str:
        """A run in one line."""
        total, done = self._progress()
        failed = [name for name, check in summary["checks"].items() if not check["passed"]]
        verdict = f"NOT verified: {', '.join(failed)}" if failed else "verified"
        found = caveats.of(summary)
        accuracy = summary["test_accuracy"][-1]
        reached = "" if accuracy is None else f"{accuracy:.2%}, "
        ranked = "NOT RANKED: " if caveats.doubts(summary) else ""
        return (
            f"[{done:{len(str(total))}}/{total}] {self._which(cell, repeat)}: "
            f"{summary['throughput_samples_per_s']:,.0f} samples/s, "
            f"{reached}{sum(summary['epoch_time_s']):.2f} s training, "
            f"{summary['wall_s']:.1f} s in all, {verdict}"
            f"{', ' + ranked + caveats.told(found) if found else ''}"
        )

    def _which(self, cell: Cell, repeat: int) -> str:
        """A run's cell and, where it has several, its repeat."""
        return f"{cell.label}{f' repeat {repeat}' if cell.options.repeats > 1 else ''}"

    def _see_to_baseline(self, summary: dict[str, Any], cell: Cell | None = None) -> None:
        """Make sure that a run with several workers has a run with one to be measured against.

        That is the study's own cell, else runs in the store, else a cell that is added.
        """
        from distlab.tracking.baselines import stored_baselines

        if summary["world_size"] == 1 or summary["cell"] in self._with_baseline:
            return
        self._with_baseline.add(summary["cell"])
        cell = cell or next((one for one in self._cells if one.key == summary["cell"]), None)
        if cell is None:
            return
        device = Device(summary["device"])
        if self._has_alone(cell, device):
            return
        store = self._tracker.connection
        stored: list[dict[str, Any]] = store.ask(
            partial(stored_baselines, store.store, summary), []
        )
        # This study's own are those of a cell that an earlier sitting added and may not be done.
        elsewhere = [one for one in stored if one.get("study") != self._tracker.study]
        if elsewhere:
            self._tracker.baselines([one["mlflow"]["run_id"] for one in elsewhere])
        else:
            self._add(cell.alone(device), cell)


def _few(names: list[str]) -> str:
    """The first of many names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")

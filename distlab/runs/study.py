"""Many runs as one: cells and repeats, their order, baselines, continuation, and the report.

A study's *cells* are the combinations of options of a multirun, and each cell runs ``repeats``
times. All cells run once before any runs again, in an order that is drawn anew in each repeat, so
that a drift of the machine favours none; worker processes are renewed within the study, so that
what differs from one process to the next varies over the repeats; and one run at a time, so that no
timed job shares the machine with another.
"""

import contextlib
import logging
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distlab import files
from distlab.cluster import connect
from distlab.console import without_user
from distlab.doctor import preflight
from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.experiment.frameworks.named import unnamed
from distlab.experiment.options import EXPERIMENT, Options, TrackingOptions, mlflow_variables
from distlab.masking import mask
from distlab.runs.contents import planned_cells, recorded_cells
from distlab.runs.log import FILE, driver_log
from distlab.runs.plan import Cell, cells, extended, goes_on, named, once, surroundings, twice
from distlab.runs.recorded_plan import plain
from distlab.runs.session import Session, prepare_tracking
from distlab.runs.shown.progress import Display
from distlab.runs.sitting import Sitting
from distlab.tracking import store

if TYPE_CHECKING:
    from distlab.tracking.sending.outbox import Outbox
    from distlab.tracking.study_writer import StudyTracker

_log = logging.getLogger(__name__)

# Where `mlflow ui` serves by default.
LOCAL_UI = "http://127.0.0.1:5000"


def conduct(
    planned: Sequence[Options],
    folder: Path,
    overrides: Sequence[str],
    experiment: str | None = None,
    refused: int = 0,
) -> None:
    """Run a study to its end and report it.

    Parameters
    ----------
    planned:
        The options of each cell. With ``study=ID`` and nothing else that makes up a cell, the
        cells are those of the study's plan; else they are added to it.
    folder:
        Folder of this sitting's runs, ``study.json`` and the report.
    overrides:
        The command's overrides.
    experiment:
        The choice ``experiment=...`` of the command.
    refused:
        How many combinations were mistakes and are not in ``planned``.

    Raises
    ------
    DistlabError
        If a study is to be continued that is not there.
    SystemExit
        With code 1, if a run failed.
    """
    begun = time.time()
    first, home = planned[0], Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    with Display(brief=True) as display, driver_log(folder):
        if told := mlflow_variables(first.tracking):
            display.say(f"as the environment says: {mask(told)}")
        store.check(first.tracking, home, make=not first.study)
        if not first.study:
            # What a study taken up again may not need.
            with ThreadPoolExecutor(1) as pool:
                opened = pool.submit(prepare_tracking, first)
                if not store.is_local(first.tracking):
                    opened.result()
                report = pool.submit(preflight.report)
                display.waiting("starting Ray")
                connect.connect(first)
                opened.result()
                report.result()
        else:
            preflight.report()
        from distlab.outcome import schema

        session = Session()
        if first.study:
            tracker, due = _resumed(planned, overrides, session, folder, display)
        else:
            display.waiting("loading the data")
            wanted = named(planned_cells(planned, session, display.live))
            for sentence in twice(wanted):
                display.say(sentence)
            due = once(wanted)
            tracker = _begun(due, home, experiment, folder, display)
        sitting = Sitting(due, tracker, folder, display, session)
        status = "FAILED"
        try:
            sitting.complete()
            if sitting.ran:
                tracker.looked()
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        except Exception:
            _log.exception("the study failed")
            raise
        finally:
            tracker.finish(status, time.time() - begun)
            study = tracker.load()
            folder.mkdir(parents=True, exist_ok=True)
            files.write(folder / "study.json", schema.written("study.json", study))
            if status != "FINISHED" or sitting.failed:
                again = [f"study={tracker.study}", *surroundings(overrides)]
                display.say(f"go on with: {words.command(again)}")
        try:
            _report(study, folder, display, tracker.out)
        except Exception as error:
            _log.exception("the report failed")
            if isinstance(error, DistlabError):
                raise
            raise DistlabError(
                f"to write the report of the study into {folder / 'report'}",
                f"{type(error).__name__}: {error} (more in {folder / FILE}); its runs are recorded",
                _report_again(first.tracking, tracker.study),
            ) from error
        finally:
            tracker.close()
    if sitting.failed + refused:
        display.say(f"{sitting.failed + refused} run(s) failed; see above")
        raise SystemExit(1)


def _report(study: dict[str, Any], folder: Path, display: Display, out: "Outbox") -> None:
    """Write the report, put it on the study's page in MLflow, and show the runs side by side."""
    if not study["runs"]:
        return
    from distlab.report.formats import terminal
    from distlab.report.publish import publish
    from distlab.tracking.pages import views

    display.waiting("writing the report")
    page = publish(study, folder / "report", out)
    display.close()
    if any(summary["repeat"] for summary in study["runs"]):
        terminal.show(study, page, display.console)
    else:
        display.table(sorted(study["runs"], key=lambda run: run.get("position") or 0))
        display.say(f"report:  {page}")
    display.where(folder, study["tracking_uri"])
    uri = study["tracking_uri"]
    server = without_user(uri) if uri.startswith("http") else LOCAL_UI
    display.say(f"compare: {views.address(server, study['experiment_id'], study['study'])}")


def _report_again(tracking: TrackingOptions, study: str) -> str:
    """The command that writes the report of a study that is recorded."""
    places = {"tracking.uri": tracking.uri, "tracking.experiment": tracking.experiment}
    default = {"tracking.uri": None, "tracking.experiment": EXPERIMENT}
    given = [f"{name}={place}" for name, place in places.items() if place != default[name]]
    return shlex.join(["python", "-m", "distlab.report", f"study={study[:8]}", *given])


def _begun(
    due: Sequence[Cell], home: Path, experiment: str | None, folder: Path, display: Display
) -> "StudyTracker":
    """Begin a study of these cells."""
    from distlab.tracking.study_writer import StudyTracker

    return StudyTracker.begin(
        due[0].options.tracking,
        home,
        _name(due),
        [plain(cell) for cell in due],
        {
            "command": words.command(),
            **({"experiment": experiment} if experiment else {}),
        },
        folder,
        display.say,
    )


def _resumed(
    planned: Sequence[Options],
    overrides: Sequence[str],
    session: Session,
    folder: Path,
    display: Display,
) -> tuple["StudyTracker", list[Cell]]:
    """Take a study up again: its writer, and the cells that this command is to complete."""
    from distlab.tracking.study_writer import StudyTracker

    first = planned[0]
    assert first.study is not None
    tracker = StudyTracker.resume(
        first.tracking, Path.cwd(), first.study, folder, display.say, first.take_over
    )
    try:
        named_folder = any(one.lstrip("+~").startswith("data.dir=") for one in overrides)
        same = goes_on(overrides)
        folders = [one.data.dir for one in planned if one.data.dir] if named_folder and same else []
        recorded = recorded_cells(tracker.plan(), tracker.data(), folders, first, session)
        wanted = cells(planned) if same else planned_cells(planned, session, False)
        due, plan = extended(recorded, wanted, overrides)
        if same:
            _check_named(due, tracker)
        tracker.record_plan([plain(cell) for cell in plan])
        tracker.go_on()
    except BaseException:
        tracker.leave()
        tracker.close()
        raise
    return tracker, once(due)


def _check_named(due: Sequence[Cell], tracker: "StudyTracker") -> None:
    """Refuse cells of the store's plan that would run what only the store names.

    Raises
    ------
    DistlabError
        Naming it, and the command that names it, too.
    """
    found = dict.fromkeys(word for cell in due for word in unnamed(cell.options.framework))
    if not found:
        return
    study = f"study={tracker.study}"
    raise DistlabError(
        study,
        "its plan, which whoever may write to the store can change, has code or variables that "
        f"neither this command nor its installation names:\n{chr(10).join(found)}",
        "if they are yours, name them: the command that began the study, with its id\n"
        f"{words.command([*_words(tracker.command), study])}",
    )


def _words(command: str) -> list[str]:
    """The options of a recorded command; words that a shell would take for more are only words."""
    with contextlib.suppress(ValueError):
        if shlex.split(command)[:3] == ["python", "-m", "distlab.launch"]:
            return shlex.split(mask(command))[3:]
    return ["..."]


def _name(due: Sequence[Cell]) -> str:
    """The study in a few words, for the list of runs."""
    frameworks = ", ".join(dict.fromkeys(cell.options.framework.name for cell in due))
    models = ", ".join(dict.fromkeys(cell.options.model.name for cell in due))
    by = ", ".join(dict.fromkeys(name for cell in due for name in cell.varied))
    return f"study of {models}: {frameworks}{f' by {by}' if by else ''}"

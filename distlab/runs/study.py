"""Many runs as one: cells and repeats, their order, baselines, continuation, and the report.

A study's *cells* are the combinations of options of a multirun, and each cell runs ``repeats``
times. All cells run once before any runs again, in an order that is drawn anew in each repeat, so
that a drift of the machine favours none; worker processes are renewed within the study, so that
what differs from one process to the next varies over the repeats; and one run at a time, so that no
timed job shares the machine with another.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distlab.cluster import connect
from distlab.experiment import words
from distlab.experiment.options import Options, mlflow_variables
from distlab.masking import mask
from distlab.runs import run
from distlab.runs.log import driver_log
from distlab.runs.plan import cells, extended, plain, restored, surroundings
from distlab.runs.progress import Display
from distlab.runs.sitting import Sitting
from distlab.tracking import store

if TYPE_CHECKING:
    from distlab.tracking.outbox import Outbox

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
        if not first.study:
            # What a study taken up again may not need.
            store.check(first.tracking, home)
            with ThreadPoolExecutor(1) as pool:
                opened = pool.submit(run.prepare_tracking, first)
                if not store.is_local(first.tracking):
                    opened.result()
                display.waiting("starting Ray")
                connect.connect(first)
                opened.result()
        from distlab.outcome import schema
        from distlab.tracking import study_writer

        if first.study:
            tracker = study_writer.StudyTracker.resume(
                first.tracking, home, first.study, folder, display.say
            )
            recorded = [restored(values, first) for values in tracker.plan()]
            planned, plan = extended(recorded, planned, overrides)
            tracker.record_plan([plain(options) for options in plan])
        else:
            tracker = study_writer.StudyTracker.begin(
                first.tracking,
                home,
                _name(planned),
                [plain(options) for options in planned],
                {
                    "command": words.command(),
                    **({"experiment": experiment} if experiment else {}),
                },
                folder,
                display.say,
            )
        sitting = Sitting(cells(planned), tracker, folder, display)
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
            (folder / "study.json").write_text(schema.written("study.json", study))
            if status != "FINISHED":
                again = [f"study={tracker.study}", *surroundings(overrides)]
                display.say(f"go on with: {words.command(again)}")
        try:
            _report(study, folder, display, tracker.out)
        except Exception:
            _log.exception("the report failed")
            raise
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
    from distlab.tracking import views

    display.waiting("writing the report")
    page = publish(study, folder / "report", out)
    display.close()
    if any(summary["repeat"] for summary in study["runs"]):
        terminal.show(study, page, display.console)
    else:
        display.table(sorted(study["runs"], key=lambda run: run.get("position") or 0))
        display.say(f"report:  {page}")
    display.where(folder, study["tracking_uri"])
    server = study["tracking_uri"] if study["tracking_uri"].startswith("http") else LOCAL_UI
    display.say(f"compare: {views.address(server, study['experiment_id'], study['study'])}")


def _name(planned: Sequence[Options]) -> str:
    """The study in a few words, for the list of runs."""
    frameworks = ", ".join(dict.fromkeys(options.framework.name for options in planned))
    models = ", ".join(dict.fromkeys(options.model.name for options in planned))
    return f"study of {models}: {frameworks}"

"""What distlab sets that a framework as it is installed would not have, from the records."""

from collections.abc import Sequence

from distlab.report.figures.cell import Cell
from distlab.report.figures.runs import Run
from distlab.report.sections.classroom.scorecard import latest
from distlab.report.sections.tables import NOTHING, Table, Value

QUIET = ("LOG", "VERBOSITY")
"""Parts of the names of variables that change no figure: how much is written to a log."""


def tuned(cells: Sequence[Cell]) -> Table | None:
    """A row for each framework and execution: versions, what is done otherwise, its environment.

    None where no run finished. What a run with one worker does and one with several does not is
    told as well.
    """
    runs: dict[tuple[str, str], list[Run]] = {}
    for cell in cells:
        for run in cell.runs:
            runs.setdefault((cell.framework, cell.execution), []).append(run)
    rows = [
        [
            Value(f"{framework} {execution}"),
            _version(framework, of_it),
            Value(_said(of_it)),
            Value(_environment(of_it)),
        ]
        for (framework, execution), of_it in runs.items()
    ]
    columns = ["framework", "version", "tuned", "environment"]
    wordy, prose = frozenset(columns), frozenset({"tuned", "environment"})
    return Table("Tuned, not as installed", columns, rows, wordy, prose) if rows else None


def _version(framework: str, runs: Sequence[Run]) -> Value:
    versions = dict.fromkeys(str(run.get("framework_version") or NOTHING) for run in runs)
    newest = latest(framework)
    known = "" if newest is None else f"{newest.version} was the latest\non {newest.known}"
    return Value(", ".join(versions), known)


def _said(runs: Sequence[Run]) -> str:
    recorded = [(run.get("resources") or {}).get("tuned") for run in runs]
    said = dict.fromkeys(words for of_run in recorded for words in of_run or ())
    if said:
        return "; ".join(said)
    return "not recorded" if None in recorded else "nothing"


def _environment(runs: Sequence[Run]) -> str:
    """What the configuration sets in the workers' environment, log levels aside."""
    start = "framework.env."
    found = dict.fromkeys(
        f"{name.removeprefix(start)}={value}"
        for run in runs
        for name, value in (run.get("options") or {}).items()
        if name.startswith(start)
        and value not in ("", "None")
        and not any(part in name.upper() for part in QUIET)
    )
    return ", ".join(found) or NOTHING

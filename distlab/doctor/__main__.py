"""``python -m distlab.doctor``: whether runs would work here and be right, and what to do."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rich.table import Table
from rich.text import Text

from distlab.console import FAILED, Terminal, answer
from distlab.doctor import machine, places, software
from distlab.doctor.finding import Finding, Level, note
from distlab.errors import DistlabError
from distlab.experiment.command_line.words import at_home

USAGE = """\
python -m distlab.doctor [option=value ...]

Looks at what runs need, and tells what is off and what to do. Exit code 1 where a run would fail
or be wrong. Nothing is made or changed.

tracking.uri=URI          the store (default: MLFLOW_TRACKING_URI, else ./mlruns/mlflow.db)
tracking.experiment=NAME  the experiment in it (default: distlab)
data.dir=FOLDER           where MNIST's files are (default: DISTLAB_DATA_DIR, or the user's cache)
"""
OPTIONS = ("tracking.uri", "tracking.experiment", "data.dir")
STYLES = {Level.fine: "green", Level.note: "yellow", Level.wrong: "bold red"}


def examine(options: dict[str, str]) -> list[Finding]:
    """Look at everything, at the same time where that is faster; in the order that is shown."""
    # What is measured comes before what makes the machine busy.
    before = [*_looked(machine.load)]
    looks: Sequence[Callable[[], Iterator[Finding]]] = (
        software.python,
        software.frameworks,
        software.ray,
        software.report,
        software.compiler,
        machine.cores,
        machine.clock,
        machine.memory,
        machine.variables,
        partial(places.store, options.get("tracking.uri"), options.get("tracking.experiment")),
        places.folder,
        partial(places.data, options.get("data.dir")),
        places.cluster,
        places.strangers,
    )
    with ThreadPoolExecutor(len(looks)) as pool:
        found = [finding for findings in pool.map(_looked, looks) for finding in findings]
    return [*found, *before]


def _looked(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a look found; one that fails says so and keeps nobody from the others."""
    try:
        return list(look())
    except Exception as error:
        name = getattr(look, "func", look).__name__
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return [note(name, f"could not be looked at: {reason}", "a fault of distlab's own")]


def show(findings: Sequence[Finding], terminal: Terminal) -> None:
    """A table on a terminal; elsewhere a line for each finding."""
    if not terminal.is_terminal:
        for one in findings:
            advice = f" -> {one.advice}" if one.advice else ""
            line = f"{one.level:<5}  {one.what}: {one.found}{advice}"
            terminal.print(line, soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in findings:
        text = Text(one.found)
        if one.advice:
            text.append(f"\n-> {one.advice}", "cyan")
        table.add_row(Text(one.level, STYLES[one.level]), one.what, text)
    terminal.print(table)


def parse(words: Sequence[str]) -> dict[str, str]:
    """Read ``name=value`` words; values are taken as they stand.

    Raises
    ------
    DistlabError
        If a word is no option.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in OPTIONS:
            raise DistlabError(
                f"python -m distlab.doctor {' '.join(words)}",
                f"{word!r} is no option; the options are {', '.join(OPTIONS)}",
                "python -m distlab.doctor --help",
            )
        options[name] = at_home(value) if name == "tracking.uri" else value
    return options


def _tell(words: Sequence[str], terminal: Terminal) -> int:
    """Look, and show what was found."""
    findings = examine(parse(words))
    show(findings, terminal)
    off = sum(one.level is Level.wrong for one in findings)
    if off:
        terminal.print(f"{off} of these would make runs fail or be wrong", style="bold red")
        return FAILED
    terminal.print("runs would work here; each one says what it lacks")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if runs would work and be right, 1 if not, 130 if interrupted."""
    return answer(_tell, USAGE, words)


if __name__ == "__main__":
    sys.exit(main())

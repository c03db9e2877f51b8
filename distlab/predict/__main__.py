"""``python -m distlab.predict [study=ID | file=study.json] [workers=2..1024] [tracking.uri=...]``.

It runs nothing: it computes from what a study's runs recorded.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from distlab.console import Terminal, answer
from distlab.errors import DistlabError
from distlab.report.asked import Asked, load, parse
from distlab.report.figures.cells import cells
from distlab.report.figures.prediction.evidence import Series, series
from distlab.report.figures.prediction.outlook import Outlook, outlook
from distlab.report.formats import terminal
from distlab.report.sections import glossary, prediction

COMMAND = "python -m distlab.predict"
MOST_WORKERS = 2**20
USAGE = """\
python -m distlab.predict [option=value ...]

Predicts throughput and efficiency for more workers than a study had, from what its runs measured
of steps and of the exchange: of the latest study in MLflow, if none is named. It runs nothing.

study=ID                  the study's id, or its first characters
file=study.json           the study from a file instead
workers=2..1024           for how many workers: each twice the one before; or a list: 2,6,48
tracking.uri=URI          where it was recorded (default: MLFLOW_TRACKING_URI, else
                          ./mlruns/mlflow.db)
tracking.experiment=NAME  under which experiment (default: MLFLOW_EXPERIMENT_NAME, else distlab)
"""


@dataclass
class PredictOptions(Asked):
    """What the command line may say."""

    workers: str = "2..1024"


def numbers(text: str) -> list[int]:
    """Numbers of workers: ``2..1024`` is 2, 4, 8 up to 1,024, ``2,6`` is those two.

    Raises
    ------
    DistlabError
        If it is neither, or names fewer than 2 or more than ``MOST_WORKERS``.
    """
    first, dots, last = text.partition("..")
    parts = [first, last] if dots else text.split(",")
    found = [int(part) for part in parts if part.strip().isdecimal() and len(part) < 9]
    possible = len(found) == len(parts) and all(2 <= one <= MOST_WORKERS for one in found)
    if not possible or (dots and found[0] > found[1]):
        raise DistlabError(
            f"workers={text}",
            f"numbers of workers are a range or a list, from 2 to {MOST_WORKERS:,}",
            "workers=2..1024\nworkers=2,6,48",
        )
    if not dots:
        return sorted(set(found))
    count = found[0]
    doubled = []
    while count <= found[1]:
        doubled.append(count)
        count *= 2
    return doubled


def predict(options: PredictOptions, console: Console) -> None:
    """Print what a study says of more workers.

    Raises
    ------
    DistlabError
        If there is no such study, or it says nothing of them.
    """
    workers = numbers(options.workers)
    study, _ = load(options, console)
    programs = series(cells(study))
    found = [one for one in (outlook(program, workers) for program in programs) if one is not None]
    if not any(one.predicted for one in found):
        raise _nothing(study, programs, found)
    console.print(str(study.get("name") or "Study"), style="bold")
    for table in prediction.forecasts([one for one in found if one.predicted]):
        console.print()
        console.print(table.title, style="bold")
        terminal.tabled(table, console)
    console.print()
    for line in _said(programs, found):
        console.print(f"- {line}", soft_wrap=not console.is_terminal)


def _said(programs: Sequence[Series], found: Sequence[Outlook]) -> list[str]:
    """What must be known of the tables, a line each."""
    said = [line for one in found for line in prediction.notes(one)]
    said += [f"{one.name}: not predicted, {one.lacking}." for one in programs if one.lacking]
    said += filter(None, [prediction.repeats(found)])
    said.append(glossary.RANGES)
    return list(dict.fromkeys(said))


def _nothing(
    study: dict[str, Any], programs: Sequence[Series], found: Sequence[Outlook]
) -> DistlabError:
    """Why a study says nothing of more workers, and what measures it."""
    why = [f"{one.name}: {one.lacking}" for one in programs if one.lacking]
    why += [f"{one.series.name}: they can't share its batch" for one in found]
    first = [cell for one in programs for cell in one.group.cells][:1]
    named = [
        f"{name}={value}"
        for cell in first
        for name, value in (("model", cell.model), ("device", cell.device))
    ]
    frameworks = ",".join(dict.fromkeys(c.framework for one in programs for c in one.group.cells))
    words = [f"framework={frameworks or 'torch'}", "gpus=1,2", *named]
    return DistlabError(
        f"to predict study {str(study['study'])[:8]} for more workers",
        "; ".join(dict.fromkeys(why)) or "it has no run",
        f"python -m distlab.launch -m {' '.join(words)}\nthen {COMMAND}",
    )


def _tell(words: Sequence[str], console: Terminal) -> None:
    predict(parse(words, PredictOptions, COMMAND), console)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 1 on an error, 130 if interrupted."""
    return answer(
        lambda given, terminal: predict(parse(given, PredictOptions, COMMAND), terminal),
        USAGE,
        words,
    )


if __name__ == "__main__":
    sys.exit(main())

"""What to do next: how many repeats would settle what the study could not tell, and what they cost.

The command goes on with the study, so that nothing is measured twice.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distlab.experiment.options import EXPERIMENT
from distlab.masking import HIDDEN
from distlab.measure.design import repeats_to_tell
from distlab.measure.statistics import FEWEST
from distlab.outcome.caveats import Code, codes, doubts
from distlab.report.figures.cell import Cell
from distlab.report.figures.runs import reasons
from distlab.report.sections.conditions import duration
from distlab.report.sections.verdict import Setting

FIRST_REPEATS = 5
"""What a study of fewer than three repeats is advised to have."""
SURROUNDINGS = ("tracking.", "cluster", "data.dir")
"""Options of the study's command that one which goes on with it needs, too."""


@dataclass(frozen=True)
class NextStep:
    """What would settle what is open.

    Attributes
    ----------
    words:
        In a sentence or two.
    command:
        To be copied; None where nothing is to be gained.
    """

    words: str
    command: str | None = None


def next_step(
    study: dict[str, Any], settings: Sequence[Setting], cells: Sequence[Cell]
) -> NextStep | None:
    """The next step of a study; None where it has no run.

    Parameters
    ----------
    study:
        The study as data.
    settings:
        Who is fastest where (:func:`distlab.report.sections.verdict.settings`).
    cells:
        All its cells.
    """
    if not study["runs"]:
        return None
    if all(_never_ranked(cell) for cell in cells):
        why = reasons([run for cell in cells for run in cell.runs], 0, 0, found=True)
        return NextStep(
            f"No run counts: {why}. More repeats would not change that; fewer workers or threads, "
            "or more cores, would."
        )
    now = max(len(cell.runs) + cell.failed for cell in cells)
    if not any(len(cell.counted) >= FEWEST for cell in cells):
        count = max(FIRST_REPEATS, now + FEWEST)
        words = f"To tell any difference, {count} repeats of each in all"
        return _advised(study, cells, now, count, words)
    open_ratios = [
        setting.ahead
        for setting in settings
        if setting.fastest is None and len(setting.cells) > 1 and setting.ahead is not None
    ]
    if not open_ratios:
        return _settled(settings, cells)
    needed = [repeats_to_tell(ratio) for ratio in open_ratios]
    possible = [count for count in needed if count is not None]
    if not possible:
        most = max(
            max(abs(math.log(bound)) for bound in (ratio.low, ratio.high) if bound is not None)
            if ratio.low is not None
            else abs(math.log(ratio.value))
            for ratio in open_ratios
        )
        return NextStep(
            "What could not be told is too small for this machine: those frameworks are within "
            f"{math.exp(most) - 1:.0%} of each other, and 60 repeats would hardly tell more."
        )
    count = max(possible)
    of = "" if len(possible) == len(open_ratios) else f" {len(possible)} of {len(open_ratios)}"
    what = f"settle{of} what could not be told" if of else "settle what could not be told"
    return _advised(study, cells, now, max(count, now + 1), f"To {what}, {count} repeats")


def again(study: dict[str, Any], *words: str) -> str:
    """The command that goes on with a study from any folder of the machine, with more options."""
    recorded = shlex.split(str(study.get("command") or ""))[3:]
    kept = [word for word in recorded if word.startswith(SURROUNDINGS) and HIDDEN not in word]
    first = (study["runs"] or [{}])[0].get("mlflow") or {}
    uri, experiment = str(study.get("tracking_uri") or ""), first.get("experiment")
    if uri and HIDDEN not in uri and not any(word.startswith("tracking.uri=") for word in kept):
        kept.append(f"tracking.uri={uri}")
    if experiment not in (None, EXPERIMENT) and not any(
        word.startswith("tracking.experiment=") for word in kept
    ):
        kept.append(f"tracking.experiment={experiment}")
    return shlex.join(["python", "-m", "distlab.launch", f"study={study['study']}", *words, *kept])


def _settled(settings: Sequence[Setting], cells: Sequence[Cell]) -> NextStep:
    """Nothing is open among what is ranked; what is not ranked may be by chance."""
    by_chance = [c for c in cells if not c.ranked and c.runs and not _never_ranked(c)]
    if not by_chance and not any(len(setting.cells) > 1 for setting in settings):
        return NextStep(
            "More repeats would change nothing: no two programs are ranked in one setting. Who is "
            "fastest is for a study of several frameworks."
        )
    if not by_chance:
        return NextStep(
            "Who is fastest is settled; more repeats would not change that. Other models, numbers "
            "of workers or machines are for another study."
        )
    cells_are = "1 cell is" if len(by_chance) == 1 else f"{len(by_chance)} cells are"
    return NextStep(
        f"Who is fastest of what is ranked is settled, but {cells_are} not ranked for what may "
        "pass: another study in a quieter time would tell."
    )


def _never_ranked(cell: Cell) -> bool:
    """Whether all runs of a cell have a caveat that comes from what was asked, not by chance."""
    lasting = {Code.oversubscribed, Code.bound}
    return bool(cell.runs) and all(lasting & {*codes(doubts(run))} for run in cell.runs)


def _advised(
    study: dict[str, Any], cells: Sequence[Cell], now: int, count: int, words: str
) -> NextStep:
    walls = [run["wall_s"] for run in study["runs"] if run.get("wall_s")]
    seconds = sum(walls) / len(walls) * len(cells) * (count - now) if walls else None
    cost = "" if seconds is None else f": about {_minutes(seconds)} more"
    return NextStep(f"{words}{cost}.", again(study, f"repeats={count}"))


def _minutes(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minute{'s' * (minutes != 1)}" if minutes < 120 else duration(60.0 * minutes)

"""What a report cannot say because of the machine: drift, others' work, windows too short."""

from collections.abc import Sequence

from distlab.console import counted
from distlab.machine.load import OTHER_CORES_AT_MOST
from distlab.measure.drift import drift
from distlab.outcome import caveats
from distlab.report.figures.cell import Cell
from distlab.report.figures.runs import SPEED

WORTH_SAYING = 0.01
"""A share of a run's speed below which others' work is not mentioned."""
MOST_DETAILS = 3
"""Of the different findings of one caveat."""


def untold(cells: Sequence[Cell]) -> list[str]:
    """Sentences, none where there is nothing to be said."""
    said = [*_caveats(cells), *_drift(cells), *_others(cells), *_too_short(cells)]
    return [*said, *_other_way(cells)]


def _other_way(cells: Sequence[Cell]) -> list[str]:
    """That no cell has one worker with as many threads as several have together."""
    on_cpu = [cell for cell in cells if cell.ranked and cell.device == "cpu"]
    alone = {(c.framework, c.threads_per_worker) for c in on_cpu if c.world_size == 1}
    missing = dict.fromkeys(
        (cell.world_size * cell.threads_per_worker, cell.threads_per_worker)
        for cell in on_cpu
        if cell.world_size > 1 and cell.threads_per_worker is not None
        if (cell.framework, cell.world_size * cell.threads_per_worker) not in alone
    )
    if not missing:
        return []
    most, each = max(missing)
    return [
        f"No cell has 1 worker with {most} threads (gpus=1 threads_per_worker={most}), the other "
        f"way to use as many cores: speed-ups are over 1 worker with {counted(each, 'thread')}."
    ]


def _caveats(cells: Sequence[Cell]) -> list[str]:
    """Those of runs that count all the same."""
    runs = [caveats.of(run) for cell in cells for run in cell.counted]
    said = []
    for code in caveats.codes([caveat for of_run in runs for caveat in of_run]):
        own = [[c.detail for c in of_run if c.code is code] for of_run in runs]
        details = dict.fromkeys(detail for of_run in own for detail in of_run)
        said.append(
            f"{sum(map(bool, own))} of {len(runs)} runs that count: {code.words} "
            f"({'; '.join(list(details)[:MOST_DETAILS])}). {code.sentence}"
        )
    return said


def _drift(cells: Sequence[Cell]) -> list[str]:
    found = drift([{run["repeat"]: run[SPEED] for run in cell.counted} for cell in cells])
    if found is None or not found.told:
        return []
    slower = "slower" if found.change < 0 else "quicker"
    return [
        f"The machine became {abs(found.change):.1%} {slower} from the first repeat to the last "
        f"(p = {found.p:.2g}). Ratios are of runs of one repeat, and hold; a cell's samples/s are "
        "of the time of this study, and its repeats are not independent."
    ]


def _others(cells: Sequence[Cell]) -> list[str]:
    """How much of the workers' cores others kept busy in runs that count, at most."""
    most, threads = 0.0, 1
    for cell in cells:
        own = cell.world_size * (cell.threads_per_worker or 1)
        for run in cell.counted:
            load = run.get("load") or {}
            if "cores" in load and load.get("other_cores") is not None:
                taken = max(0.0, load["other_cores"] - max(0, load["cores"] - own))
                if taken / own > most / threads:
                    most, threads = taken, own
    if most / threads < WORTH_SAYING:
        return []
    return [
        f"In runs that count, others on the machine kept up to {most:.2f} of the workers' "
        f"{threads} core{'s' * (threads > 1)} busy, which may be up to {most / threads:.0%} of a "
        "run's speed."
    ]


def _too_short(cells: Sequence[Cell]) -> list[str]:
    """Runs whose windows the clock of the machine's load cannot judge."""
    runs = [run for cell in cells for run in cell.counted]
    short = [
        run
        for run in runs
        if (run.get("load") or {}).get("uncertain_cores", 0.0) > OTHER_CORES_AT_MOST
    ]
    if not short:
        return []
    return [
        f"Whether others disturbed {len(short)} of {len(runs)} runs that count is not known: their "
        "timed windows are too short for the clock that counts the machine's work (10 ms); longer "
        "epochs would tell."
    ]

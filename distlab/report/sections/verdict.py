"""The verdict in plain words: who is fastest where, what more workers bring, what is not known."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from distlab.console import counted
from distlab.measure.blocks import PROCESS_SD
from distlab.measure.statistics import FEWEST, Estimate
from distlab.report.figures.baselines import HERE
from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import Comparison
from distlab.report.figures.groups import Group
from distlab.report.figures.groups import groups as gathered
from distlab.report.figures.runs import reasons
from distlab.report.sections.tables import estimated, number

MOST_SENTENCES = 3
"""On cells that are not ranked; of more there is one sentence on all of them."""


@dataclass(frozen=True)
class Setting:
    """Cells that differ in framework and execution only, and who of them is the fastest.

    Attributes
    ----------
    group:
        Where the cells are from.
    name:
        ``mlp on 1 CPU worker (weak scaling, batch 64 a worker)``.
    cells:
        The ranked ones: a leader, then the others by falling throughput.
    fastest:
        The one that is told to be faster than each other, or None.
    leaders:
        Those that none is told to be faster than, by falling throughput.
    ahead:
        How many times as fast the first leader is as the second, or as the next of the others
        where there is one leader; None with one cell.
    """

    group: Group
    name: str
    cells: list[Cell]
    fastest: Cell | None
    leaders: list[Cell]
    ahead: Estimate | None


def settings(groups: Sequence[Group], comparisons: Sequence[Comparison]) -> list[Setting]:
    """Find who is fastest for every model, scaling, batch and number of workers."""
    pairs = {frozenset((c.faster.cell, c.slower.cell)): c for c in comparisons}
    return [_setting(group, size, pairs) for group in groups for size in group.world_sizes]


def headline(found: Sequence[Setting], cells: Sequence[Cell] = ()) -> str:
    """How often each framework is the fastest, in one or two sentences.

    Where nothing is ranked, ``cells`` tell why.
    """
    compared = [setting for setting in found if len(setting.cells) > 1]
    if not found:
        why = f": {_lost(cells)}" if cells else ""
        return f"No cell has enough runs that count, so nothing is ranked{why}."
    if not compared:
        return "Only one framework is ranked in each setting, so none is compared with another."
    wins = Counter(name(s.fastest) for s in compared if s.fastest is not None)
    untold = len(compared) - wins.total()
    of = f"of {len(compared)} settings" if len(compared) > 1 else "the one setting"
    if not wins:
        return "No fastest framework can be told."
    (first, most), *rest = wins.most_common()
    leads = {who: _leads([s for s in compared if name(s.fastest) == who]) for who in wins}
    if len(compared) == 1:
        return f"{first} is the fastest: {leads[first]}."
    said = f"{first} is the fastest in {most} {of} (model, scaling, number of workers)"
    said += f": {leads[first]}" if most > 1 or not rest else ""
    said += "".join(f"; {other} in {times}" for other, times in rest)
    return f"{said}; in {untold} no fastest can be told." if untold else f"{said}."


def _leads(won: Sequence[Setting]) -> str:
    """How many times the throughput of the next the fastest of some settings has."""
    leads = [setting.ahead for setting in won if setting.ahead is not None]
    least, most = (
        estimated(pick(leads, key=lambda lead: lead.value), "ratio").text for pick in (min, max)
    )
    return f"{least if least == most else f'{least} to {most}'} times the samples/s of the next"


def sentences(found: Sequence[Setting], groups: Sequence[Group]) -> list[tuple[str, str]]:
    """For each group: its title, who is fastest there, and what more workers bring."""
    said = []
    for group in groups:
        parts = [
            f"On {setting.cells[0].workers} {name(setting.fastest)} is the fastest, "
            f"{estimated(setting.ahead, 'ratio').text} times as fast as {name(setting.cells[1])}, "
            f"the next{_interval(setting.ahead)}."
            for setting in found
            if setting.group.slug == group.slug
            and setting.fastest is not None
            and setting.ahead is not None
        ]
        for size in group.world_sizes:
            scaled = [
                f"{cell.speedup.value:.2f} with {name(cell)}{_elsewhere(cell)}"
                f"{_interval(cell.speedup)}"
                for cell in group.ranked
                if cell.world_size == size > 1 and cell.speedup is not None
            ]
            if scaled:
                parts.append(f"Speed-up of {size} workers over 1: {_and(scaled)}.")
        parts += _later(group)
        if parts:
            said.append((group.title, " ".join(parts)))
    return said


def _later(group: Group) -> list[str]:
    """Where more workers have a greater throughput and need longer to the target accuracy."""
    alone = {cell.name: cell for cell in group.ranked if cell.world_size == 1}
    said = []
    for cell in group.ranked:
        one = alone.get(cell.name)
        if cell.world_size == 1 or one is None or cell.speedup is None or cell.speedup.value <= 1:
            continue
        times = cell.time_to_accuracy_s, one.time_to_accuracy_s
        if times[0] is not None and times[1] is not None and times[0].value > times[1].value:
            longer, shorter = (number(time.value, 2) for time in times if time is not None)
            said.append(f"{name(cell)} took {longer} s on {cell.workers}, {shorter} s on 1")
    if not said:
        return []
    why = "steps are fewer and of larger batches" if group.cells[0].scaling == "weak" else ""
    return [
        "More samples/s did not reach the target accuracy sooner: "
        f"{'; '.join(said)}{f' (with more workers {why})' if why else ''}."
    ]


def untold(found: Sequence[Setting], cells: Sequence[Cell]) -> list[str]:
    """What the study can't tell, and why."""
    said = []
    for setting in found:
        if len(setting.leaders) > 1 and setting.ahead is not None:
            first, second = setting.leaders[:2]
            ratio = (
                f"{name(first)} did {setting.ahead.value:.2f} times the samples/s of "
                f"{name(second)}{_interval(setting.ahead)}"
            )
            names = _and([name(cell) for cell in setting.leaders])
            said.append(f"{setting.name}: no fastest among {names}; {ratio}.")
    few = [cell for cell in cells if cell.ranked and len(cell.counted) < FEWEST]
    if few:
        which = "every cell has" if len(few) == len(cells) else f"{counted(len(few), 'cell')} with"
        said.append(
            f"{which[:1].upper()}{which[1:]} fewer than {FEWEST} runs that count: no interval, and "
            "no difference is claimed."
        )
    kept = [c for c in cells if c.ranked and c.groups < FEWEST <= len(c.counted)]
    if kept:
        which = "No cell's" if len(kept) == len(cells) else f"{len(kept)} cells'"
        said.append(
            f"{which} repeats ran in {FEWEST} or more groups of worker processes, each started "
            f"anew: intervals allow for processes that differ by {PROCESS_SD:.1%}, so that a ratio "
            f"needs to be beyond about {math.exp(1.96 * math.sqrt(2) * PROCESS_SD):.2f} to be told "
            "(group_runs=1 starts new ones for each repeat)."
        )
    alone = [c for c in cells if c.ranked and c.world_size > 1 and c.speedup is None]
    if alone:
        named = [cell.label for cell in alone] if len(alone) <= 3 else [f"{len(alone)} cells"]
        said.append(
            f"No speed-up of {_and(named)}: there is no ranked cell and no verified run with "
            f"1 worker to measure against{_other_kind(alone, cells)}."
        )
    return [*said, *_not_ranked(cells)]


def _other_kind(alone: Sequence[Cell], cells: Sequence[Cell]) -> str:
    """That one worker ran on another processor or GPU than those without a speed-up, if so."""
    kinds = {(c.framework, c.execution, c.device): c.device_name for c in alone}
    others = dict.fromkeys(
        f"{c.device_name}, not {kind}"
        for c in cells
        if c.world_size == 1
        and (kind := kinds.get((c.framework, c.execution, c.device))) not in (None, c.device_name)
    )
    return f" (1 worker ran on {_and(list(others))})" if others else ""


def name(cell: Cell | None) -> str:
    """A cell by what differs inside a setting: ``torch eager``."""
    return "" if cell is None else cell.own


def _not_ranked(cells: Sequence[Cell]) -> list[str]:
    """Which cells no claim is made of, and why; a whole setting in one sentence."""
    doubted = [cell for cell in cells if not cell.ranked]
    said = []
    for group in gathered(cells):
        for size in sorted({cell.world_size for cell in group.cells}):
            here = [cell for cell in group.cells if cell.world_size == size]
            lost = [cell for cell in here if not cell.ranked]
            if len(lost) == len(here) > 1:
                said.append(f"{_title(group, lost[0])}: nothing can be told, for {_lost(lost)}.")
            else:
                said += [
                    f"{cell.label} ({cell.model}, {cell.scaling} scaling, batch "
                    f"{cell.batch_size}) is not ranked: {_lost([cell])}."
                    for cell in lost
                ]
    if len(said) > MOST_SENTENCES:
        return [f"{len(doubted)} of {len(cells)} cells are not ranked: {_lost(doubted)}."]
    return said


def _lost(cells: Sequence[Cell]) -> str:
    """How few runs of cells count, and why the others don't."""
    runs, failed = [run for c in cells for run in c.runs], sum(cell.failed for cell in cells)
    kept = sum(len(cell.counted) for cell in cells)
    why = reasons(runs, failed, sum(cell.diverged for cell in cells), found=True)
    of = counted(len(runs) + failed, "run")
    return f"only {kept} of {of} count: {why}" if kept else f"none of {of} counts: {why}"


def _title(group: Group, cell: Cell) -> str:
    """A setting by its model, its workers and its conditions."""
    model, conditions = group.title.split(", ", 1)
    return f"{model} on {cell.workers} ({conditions})"


def _elsewhere(cell: Cell) -> str:
    return "" if cell.baseline == HERE else " over another study"


def _setting(group: Group, size: int, pairs: dict[frozenset[str], Comparison]) -> Setting:
    cells = sorted(
        (c for c in group.ranked if c.world_size == size and c.throughput is not None),
        key=lambda cell: -(cell.throughput.value if cell.throughput else 0.0),
    )

    def beaten(cell: Cell) -> list[Cell]:
        """Those that the cell is told to be faster than."""
        found = ((o, pairs.get(frozenset((cell.cell, o.cell)))) for o in cells if o is not cell)
        return [o for o, pair in found if pair and pair.told and pair.faster is cell]

    fastest = next((c for c in cells if len(beaten(c)) == len(cells) - 1 > 0), None)
    slower = [other for cell in cells for other in beaten(cell)]
    leaders = [fastest] if fastest else [cell for cell in cells if cell not in slower] or cells
    rest = [cell for cell in cells if cell not in leaders[:1]]
    second = leaders[1] if len(leaders) > 1 else next(iter(rest), None)
    ahead = _ratio(pairs, leaders[0], second) if second is not None else None
    return Setting(group, _title(group, cells[0]), [leaders[0], *rest], fastest, leaders, ahead)


def _ratio(pairs: dict[frozenset[str], Comparison], first: Cell, second: Cell) -> Estimate | None:
    """The first's throughput over the second's, however the pair was compared."""
    pair = pairs.get(frozenset((first.cell, second.cell)))
    if pair is None:
        return None
    return pair.ratio if pair.faster is first else pair.ratio.inverted()


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f" ({counted(estimate.n, 'run')}, no interval)"
    return f" (95% CI {estimated(estimate, 'ratio').detail})"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

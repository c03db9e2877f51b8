"""The whole report without any markup: what the page, Markdown and the terminal all show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distlab.report import conditions as facts
from distlab.report import tables, verdict
from distlab.report.cells import Cell
from distlab.report.classroom import classroom
from distlab.report.comparisons import Comparison, compare, note
from distlab.report.conditions import Conditions
from distlab.report.groups import Group, groups
from distlab.report.plots import KINDS, Plot
from distlab.report.scorecard import Score, scorecard
from distlab.report.tables import Table, Value

FILES = ("report.md", "cells.csv", "runs.csv", "report.json", "plots/")
DOCUMENTS = ("docs/fairness.md", "docs/studies.md")

LEGEND = (
    "Medians over repeats, and their 95 % intervals. A row that stands out is faster than every "
    "other framework with as many workers, beyond doubt. Start-up and compile times, in seconds, "
    "are of runs in freshly started processes. Exchange is the share of a step that gradient "
    "exchange takes; MFU (model FLOP utilisation) is the model's arithmetic over the float32 "
    "matrix products that the same threads can do."
)
RATIOS_LEGEND = (
    "Ratios of throughputs over pairs of repeats, which share their seed and their time. Where the "
    "95 % interval holds 1, no difference can be told."
)
CLASSROOM_LEGEND = (
    "Published means of ten runs beside ours. Ours are of training alone (all epochs' windows); a "
    "whole run is from the command to the record."
)
SCORECARD_LEGEND = (
    "The original study's three criteria. Lines of code and speed are measured; openness is dated "
    "facts with their sources, and no ranking."
)
METHOD = [
    (
        "window",
        "An epoch is timed between two barriers, with the devices idle at both ends. Only training "
        "steps are inside; warm-up, compilation, evaluation and records are outside.",
    ),
    (
        "throughput",
        "Samples of all workers over the slowest worker's windows, over all epochs of a run.",
    ),
    (
        "speed-up, efficiency",
        "T(n) / T(1) and T(n) / (n T(1)) of throughputs, where the runs with 1 worker differ in "
        "nothing else; geometric means over repeats.",
    ),
    (
        "intervals",
        "95 % intervals over repeats: of a median from its order statistics (fewer than 6 runs: "
        "Student's t), of a ratio by Student's t from the logarithms of the ratios of pairs. A "
        "pair is two runs of one repeat, which share their seed and their time. Fewer than 3 runs "
        "have no interval.",
    ),
    (
        "repeats",
        "Repeat k of every cell uses seed + k, and repeats are interleaved, so that a drift of the "
        "machine hits all cells alike. One run at a time has the machine.",
    ),
    (
        "verified",
        "Each run checks that its weights, samples, optimizer, arithmetic, threads and clock are "
        "what the fairness contract demands. A run that fails a check, or whose machine was too "
        "busy with other work, is set apart and no figure is from it.",
    ),
]


@dataclass(frozen=True)
class Section:
    """Sentences and tables under one heading."""

    sentences: list[str]
    tables: list[Table]


@dataclass(frozen=True)
class PlotKind:
    """The plots of one kind, one for each group of cells."""

    title: str
    description: str
    plots: list[Plot]


@dataclass(frozen=True)
class Contents:
    """A report, in the order in which it is shown."""

    title: str
    subtitle: str
    headline: str
    verdict: list[tuple[str, str]]
    untold: list[str]
    legend: str
    main: list[Table]
    apart: list[Table]
    ratios_legend: str
    ratios: list[Table]
    sentences: list[str]
    classroom: Section | None
    plots: list[PlotKind]
    scorecard: Section | None
    conditions: Conditions
    loads: Table | None
    packages: list[tuple[str, str]]
    method: list[tuple[str, str]]
    documents: tuple[str, ...]
    files: tuple[str, ...]


def contents(study: dict[str, Any], cells: Sequence[Cell], plots: Sequence[Plot]) -> Contents:
    """Put a study's report together.

    Parameters
    ----------
    study:
        The study as data, as in ``study.json``.
    cells:
        Its cells.
    plots:
        What was drawn of them; may be empty.
    """
    found = groups(cells)
    comparisons = compare(cells)
    settings = verdict.settings(found, comparisons)
    fastest = [setting.fastest for setting in settings if setting.fastest is not None]
    apart = [tables.not_ranked(cells), tables.set_apart(study)]
    return Contents(
        title=str(study.get("name") or "Study"),
        subtitle=_subtitle(study),
        headline=verdict.headline(settings),
        verdict=verdict.sentences(settings, found),
        untold=verdict.untold(settings, cells),
        legend=LEGEND,
        main=[tables.main(group, fastest) for group in found if group.ranked],
        apart=[table for table in apart if table is not None],
        ratios_legend=f"{RATIOS_LEGEND} {_ended(note(comparisons))}".strip(),
        ratios=_ratios(found, comparisons),
        sentences=[_ended(pair.sentence) for pair in comparisons],
        classroom=_classroom(study, cells),
        plots=[
            PlotKind(title, description, [plot for plot in plots if plot.kind == kind])
            for kind, (title, description, _) in KINDS.items()
            if any(plot.kind == kind for plot in plots)
        ],
        scorecard=_scorecard(cells),
        conditions=facts.conditions(study, cells),
        loads=tables.loads(cells),
        packages=facts.packages(study),
        method=METHOD,
        documents=DOCUMENTS,
        files=FILES,
    )


def _subtitle(study: dict[str, Any]) -> str:
    day = str(study.get("started") or "")[:10]
    machine = (study.get("environment") or {}).get("processor")
    parts = [day, machine, facts.cost(study), f"study {str(study.get('study') or '')[:8]}"]
    return " · ".join(str(part) for part in parts if part)


def _ratios(found: Sequence[Group], comparisons: Sequence[Comparison]) -> list[Table]:
    columns = ["framework", "against", "workers", "ratio", "in words"]
    made = []
    for group in found:
        members = {cell.cell for cell in group.cells}
        rows = [
            [
                Value(verdict.name(pair.faster)),
                Value(verdict.name(pair.slower)),
                Value(str(pair.faster.world_size)),
                tables.estimated(pair.ratio, "ratio"),
                Value(_ended(pair.sentence)),
            ]
            for pair in comparisons
            if pair.faster.cell in members
        ]
        if rows:
            wordy = frozenset({"framework", "against", "in words"})
            made.append(Table(group.title, columns, rows, wordy, frozenset({"in words"})))
    return made


def _ended(text: str | None) -> str:
    """A sentence with its full stop; nothing for None."""
    return f"{text.rstrip('.')}." if text else ""


def _classroom(study: dict[str, Any], cells: Sequence[Cell]) -> Section | None:
    found = classroom(study, cells)
    if found is None:
        return None
    times = [
        [
            Value(entry.name),
            Value(tables.number(entry.then_s, 3)),
            Value(
                tables.number(entry.now_s),
                "" if entry.now_sd_s is None else f"sd {tables.number(entry.now_sd_s, 2)}",
            ),
            Value(tables.number(entry.whole_s, 3)),
            Value(str(entry.runs)),
        ]
        for entry in found.entries
    ]
    ratios = [
        [
            Value(f"{ratio.slower} to {ratio.faster}"),
            Value(f"{ratio.then:.2f}"),
            tables.estimated(ratio.now, "ratio"),
        ]
        for ratio in found.ratios
    ]
    return Section(
        [*found.sentences, CLASSROOM_LEGEND],
        [
            Table(
                f"{found.model}: mean training time in seconds",
                [
                    "framework",
                    f"then, {found.then_device}",
                    f"now, {found.now_device}",
                    "now, whole run",
                    "our runs",
                ],
                times,
                frozenset({"framework"}),
            ),
            Table(
                f"{found.model}: how many times as long",
                ["ratio of times", "then", "now"],
                ratios,
                frozenset({"ratio of times"}),
            ),
        ],
    )


def _scorecard(cells: Sequence[Cell]) -> Section | None:
    scores = scorecard(cells)
    if not scores:
        return None
    rows = [
        ("ease of programming", [_ease(score) for score in scores]),
        ("speed", [_speed(score) for score in scores]),
        ("openness: licence", [Value(score.licence) for score in scores]),
        ("openness: governance", [Value(score.governance) for score in scores]),
        ("openness: releases", [Value(score.release_cadence) for score in scores]),
        (
            "sources",
            [
                Value(f"gathered {score.as_of}" if score.as_of else tables.NOTHING, "", links)
                for score in scores
                for links in [tuple(score.sources)]
            ],
        ),
    ]
    columns = ["criterion", *(score.framework for score in scores)]
    table = Table(
        "Frameworks by three criteria",
        columns,
        [[Value(criterion), *values] for criterion, values in rows],
        wordy=frozenset(columns),
        prose=frozenset(columns[1:]),
    )
    return Section([SCORECARD_LEGEND], [table])


def _ease(score: Score) -> Value:
    if score.code_lines is None:
        return Value("not known", "its source isn't installed here")
    files = ", ".join(score.code_files)
    return Value(f"{score.code_lines} logical lines of code in its backend", files)


def _speed(score: Score) -> Value:
    if score.relative_speed is None:
        return Value("not compared")
    conditions = f"{score.conditions} condition{'s' * (score.conditions != 1)}"
    return Value(
        f"{score.relative_speed:.0%} of the fastest framework's throughput",
        f"geometric mean over {conditions}",
    )

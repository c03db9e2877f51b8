"""The whole report without any markup: what the page, Markdown and the terminal all show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import Comparison, compare, note, ratio_text
from distlab.report.figures.groups import Group, groups
from distlab.report.figures.prediction.outlook import held_out, outlooks
from distlab.report.plots.render import KINDS, Plot
from distlab.report.sections import conditions as facts
from distlab.report.sections import glossary, machine, prediction, tables, verdict
from distlab.report.sections.classroom.scorecard import Score, scorecard
from distlab.report.sections.classroom.then_and_now import classroom
from distlab.report.sections.conditions import Conditions
from distlab.report.sections.main_table import main
from distlab.report.sections.next_step import NextStep, next_step
from distlab.report.sections.tables import Table, Value
from distlab.report.sections.tuned import tuned
from distlab.report.sections.what_if import break_even, job_time, overtaking
from distlab.report.sections.what_if.job_time import JobTime

MOST_RATIOS = 60
"""Rows of a table of ratios; of more pairs it has those with the highest mean."""
FILES = ("report.md", "cells.csv", "runs.csv", "report.json", "requirements.txt", "plots/")
DOCUMENTS = ("docs/fairness.md", "docs/studies.md")


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
    wide: bool = False


@dataclass(frozen=True)
class Contents:
    """A report, in the order in which it is shown."""

    title: str
    subtitle: str
    headline: str
    scope: str
    next_step: NextStep | None
    note: str
    verdict: list[tuple[str, str]]
    untold: list[str]
    legend: str
    words: list[tuple[str, str]]
    main: list[Table]
    apart: list[Table]
    ratios_legend: str
    ratios: list[Table]
    sentences: list[str]
    compilation: Section | None
    job_times: Section | None
    jobs: list[JobTime]
    predicted: Section | None
    classroom: Section | None
    plots: list[PlotKind]
    scorecard: Section | None
    scripts: dict[str, str]
    conditions: Conditions
    citation: str
    loads: Table | None
    tuned: Section | None
    requirements: str
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
    looks = study.get("looks", 1)
    comparisons = compare(cells, looks)
    settings = verdict.settings(found, comparisons)
    scores = scorecard(cells, comparisons)
    fastest = [setting.fastest for setting in settings if setting.fastest is not None]
    apart = [tables.not_ranked(cells), tables.set_apart(study, cells)]
    return Contents(
        title=str(study.get("name") or "Study"),
        subtitle=_subtitle(study),
        headline=verdict.headline(settings, cells),
        scope=facts.scope(study, cells),
        next_step=next_step(study, settings, cells),
        note=_ended(note(comparisons, looks)),
        verdict=verdict.sentences(settings, found),
        untold=[*verdict.untold(settings, cells), *machine.untold(cells)],
        legend=glossary.FIGURES if _intervals(cells) else glossary.FEW,
        words=glossary.WORDS,
        main=[main(group, fastest) for group in found if group.ranked],
        apart=[table for table in apart if table is not None],
        ratios_legend=f"{glossary.RATIOS} {_ended(note(comparisons, looks)) or glossary.UNSURE}",
        ratios=_ratios(found, comparisons),
        sentences=[_ended(pair.sentence) for pair in comparisons],
        compilation=_compilation(comparisons),
        job_times=_job_times(found, comparisons),
        jobs=job_time.jobs(found),
        predicted=_predicted(cells),
        classroom=_classroom(study, cells, comparisons),
        plots=[
            PlotKind(how.title, how.caption, [p for p in plots if p.kind == kind], kind == "map")
            for kind, how in KINDS.items()
            if any(plot.kind == kind for plot in plots)
        ],
        scorecard=_scorecard(scores),
        scripts={file: text for score in scores for file, text in score.scripts.items()},
        conditions=facts.conditions(study, cells),
        citation=facts.citation(study),
        loads=tables.loads(cells),
        tuned=_tuned(cells),
        requirements=facts.requirements(study),
        method=glossary.METHOD,
        documents=DOCUMENTS,
        files=FILES,
    )


def _intervals(cells: Sequence[Cell]) -> bool:
    """Whether any throughput has one."""
    return any(cell.throughput is not None and cell.throughput.low is not None for cell in cells)


def _subtitle(study: dict[str, Any]) -> str:
    day = str(study.get("started") or "")[:10]
    machine = (study.get("environment") or {}).get("processor")
    parts = [day, machine, facts.took(study), f"study {str(study.get('study') or '')[:8]}"]
    return " · ".join(str(part) for part in parts if part)


def _ratios(found: Sequence[Group], comparisons: Sequence[Comparison]) -> list[Table]:
    columns = ["framework", "against", "workers", "times as fast", "told"]
    made, some = [], any(pair.ratio.low is not None for pair in comparisons)
    for group in found:
        members = {cell.cell for cell in group.cells}
        pairs = [pair for pair in comparisons if pair.faster.cell in members]
        title = group.title
        if len(pairs) > MOST_RATIOS:
            title += f" (of {len(pairs)} pairs those with a highest mean; report.json tells all)"
            first = {_highest(group, size) for size in group.world_sizes}
            pairs = [pair for pair in pairs if {pair.faster.cell, pair.slower.cell} & first]
        rows = [
            [
                Value(pair.faster.name),
                Value(pair.slower.name),
                Value(str(pair.faster.world_size)),
                tables.estimated(pair.ratio, "ratio") if some else Value(_bare(pair)),
                Value("yes" if pair.told else "no"),
            ]
            for pair in pairs
        ]
        if rows:
            made.append(Table(title, columns, rows, frozenset({"framework", "against"})))
    return made


def _bare(pair: Comparison) -> str:
    """A ratio of a report in which none has an interval, which its legend says once."""
    return ratio_text(pair.ratio, pair.ratio.value)


def _highest(group: Group, size: int) -> str:
    """The ranked cell of a number of workers that has the highest mean throughput."""
    cells = [cell for cell in group.ranked if cell.world_size == size]
    return max(cells, key=lambda cell: cell.throughput.value if cell.throughput else 0.0).cell


def _ended(text: str | None) -> str:
    """A sentence with its full stop; nothing for None."""
    return f"{text.rstrip('.')}." if text else ""


def _compilation(comparisons: Sequence[Comparison]) -> Section | None:
    found = break_even.break_evens(comparisons)
    if not found:
        return None
    sentences = [_ended(pair.sentence) for pair in found]
    return Section([*sentences, glossary.COMPILATION], [break_even.table(found)])


def _job_times(found: Sequence[Group], comparisons: Sequence[Comparison]) -> Section | None:
    tables = job_time.tables(found)
    said = [*overtaking.sentences(comparisons), glossary.JOB_TIMES]
    return Section(said, tables) if tables else None


def _predicted(cells: Sequence[Cell]) -> Section | None:
    found, beside = outlooks(cells), held_out(cells)
    shown = [prediction.beside(beside), prediction.fitted(found)]
    tables = [table for table in shown if table is not None]
    said = [glossary.PREDICTION, *filter(None, [prediction.repeats(found)]), glossary.RANGES]
    return Section(said, tables) if tables else None


def _tuned(cells: Sequence[Cell]) -> Section | None:
    found = tuned(cells)
    return None if found is None else Section([glossary.TUNED], [found])


def _classroom(
    study: dict[str, Any], cells: Sequence[Cell], comparisons: Sequence[Comparison]
) -> Section | None:
    found = classroom(study, cells, comparisons)
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
        [*found.sentences, glossary.CLASSROOM],
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


def _scorecard(scores: Sequence[Score]) -> Section | None:
    if not scores:
        return None
    rows = [
        ("ease of programming", [_ease(score) for score in scores]),
        ("speed", [_speed(score) for score in scores]),
        ("openness: licence", [Value(score.licence) for score in scores]),
        ("openness: governance", [Value(score.governance) for score in scores]),
        ("openness: releases", [Value(score.release_cadence) for score in scores]),
        ("sources", [_sources(score) for score in scores]),
    ]
    columns = ["criterion", *(score.framework for score in scores)]
    table = Table(
        "Frameworks by three criteria",
        columns,
        [[Value(criterion), *values] for criterion, values in rows],
        wordy=frozenset(columns),
        prose=frozenset(columns[1:]),
    )
    return Section([glossary.SCORECARD], [table])


def _sources(score: Score) -> Value:
    gathered = f"gathered {score.as_of}" if score.as_of else tables.NOTHING
    return Value(gathered, links=tuple(score.sources))


def _ease(score: Score) -> Value:
    if score.code_lines is None:
        return Value("not known", "no script in its tutorials' style is installed here")
    files = ", ".join(score.scripts)
    return Value(f"{score.code_lines} logical lines in the style of its own tutorials", files)


def _speed(score: Score) -> Value:
    if not score.conditions:
        return Value("not compared")
    conditions = f"{score.conditions} condition{'s' * (score.conditions != 1)}"
    if score.relative_speed is None:
        return Value("not told apart", conditions)
    if score.relative_speed == 1:
        return Value("none is told to be faster", conditions)
    untold = score.conditions - score.told
    return Value(
        f"the fastest is {1 / score.relative_speed:.2f} times as fast",
        f"geometric mean over {conditions}"
        + (f"; {untold} in which nothing is told count as 1" if untold else ""),
    )

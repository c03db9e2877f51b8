"""The frameworks by the original study's three criteria: ease of programming, speed, openness.

The first two are measured, when the report is made and by the study; the third is a list of dated
facts with their sources (``openness.yaml``) and no ranking.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distlab.report.figures.cell import Cell
from distlab.report.figures.code_lines import count, tutorial
from distlab.report.figures.comparisons import Comparison

UNKNOWN = "no facts recorded"
_FACTS = Path(__file__).with_name("openness.yaml")


@dataclass(frozen=True)
class Score:
    """One framework by the three criteria.

    Attributes
    ----------
    framework:
        Its name.
    code_lines:
        Logical lines of a script for such an experiment in the style of its own tutorials; None
        where it has none in the driver's environment.
    scripts:
        That script's source by its file: ``distlab/backends/torch/tutorial/train.py``.
    relative_speed:
        Geometric mean over the conditions of the study of its throughput over that of the fastest
        framework; None if the study nowhere tells it apart. See :func:`relative_speeds`.
    conditions:
        Number of conditions that this mean is of; where it differs between frameworks, their means
        are not of the same conditions.
    told:
        In how many of them the framework is told to be slower than the fastest, or is itself told
        to be faster than another.
    licence, governance, release_cadence:
        Facts in words, or ``no facts recorded``.
    sources:
        Links to the documents that the facts are from.
    as_of:
        When the facts were gathered, as YYYY-MM-DD; None without facts.
    """

    framework: str
    code_lines: int | None
    scripts: dict[str, str]
    relative_speed: float | None
    conditions: int
    told: int
    licence: str
    governance: str
    release_cadence: str
    sources: list[str]
    as_of: str | None


def scorecard(cells: Sequence[Cell], comparisons: Sequence[Comparison]) -> list[Score]:
    """Score the frameworks of a study, in its order.

    Parameters
    ----------
    cells:
        All cells of the study; only the ranked ones count for speed.
    comparisons:
        What the report compares of them.
    """
    speeds = relative_speeds(cells, comparisons)
    scores = []
    for framework in dict.fromkeys(cell.framework for cell in cells):
        sources = tutorial(framework)
        speed = speeds.get(framework, [])
        told = sum(said for _, said in speed)
        scores.append(
            Score(
                framework=framework,
                code_lines=sum(map(count, sources.values())) if sources else None,
                scripts=sources,
                relative_speed=statistics.geometric_mean(x for x, _ in speed) if told else None,
                conditions=len(speed),
                told=told,
                **_openness(framework),
            )
        )
    return scores


def relative_speeds(
    cells: Sequence[Cell], comparisons: Sequence[Comparison]
) -> dict[str, list[tuple[float, bool]]]:
    """Throughput of each framework over that of the fastest, by condition, and whether it is told.

    A condition is all that must be equal for two runs to be compared, and the number of workers. A
    framework that ran there in several executions is taken at its fastest; a condition with less
    than two ranked frameworks compares nothing and is left out. A framework that is not told to be
    slower than the fastest counts as 1 there. Normalised figures are averaged by their geometric
    mean (Fleming and Wallace, 1986, "How not to lie with statistics: the correct way to summarize
    benchmark results", Communications of the ACM 29(3)).

    Returns
    -------
    dict
        For each framework that was compared its ratios, each in (0, 1], in the order of the cells,
        and whether the report tells a difference between it and the fastest (for the fastest:
        between it and any other).
    """
    told = {(pair.faster.cell, pair.slower.cell) for pair in comparisons if pair.told}
    conditions: dict[tuple[str | None, str, tuple[int, ...]], dict[str, Cell]] = {}
    for cell in cells:
        if cell.ranked and cell.throughput is not None:
            equal = cell.comparison_key, cell.precision, (cell.world_size, *cell.hosts)
            fastest = conditions.setdefault(equal, {})
            fastest[cell.framework] = max(fastest.get(cell.framework, cell), cell, key=_rate)
    speeds: dict[str, list[tuple[float, bool]]] = {}
    for chosen in conditions.values():
        if len(chosen) > 1:
            best = max(chosen.values(), key=_rate)
            beaten = {name for name, cell in chosen.items() if (best.cell, cell.cell) in told}
            for name, cell in chosen.items():
                ratio = _rate(cell) / _rate(best) if name in beaten else 1.0
                said = name in beaten or (cell is best and bool(beaten))
                speeds.setdefault(name, []).append((ratio, said))
    return speeds


def _rate(cell: Cell) -> float:
    return cell.throughput.value if cell.throughput is not None else 0.0


def cadence(releases: dict[str, str], first: str, last: str) -> str:
    """Feature releases of a period in words: their number and the median interval between them.

    Parameters
    ----------
    releases:
        Dates (YYYY-MM-DD) by version.
    first, last:
        The period.
    """
    dated = sorted((date.fromisoformat(day), version) for version, day in releases.items())
    text = f"{len(dated)} feature release{'s' * (len(dated) != 1)} from {first} to {last}"
    if not dated:
        return text
    days = [day for day, _ in dated]
    if len(days) > 1:
        gaps = [(later - earlier).days for earlier, later in pairwise(days)]
        text += f", median interval {statistics.median(gaps):g} days"
    (_, oldest), (latest_day, latest) = dated[0], dated[-1]
    versions = f"{oldest} to {latest}" if len(dated) > 1 else latest
    return f"{text} ({versions}; the last on {latest_day})"


@dataclass(frozen=True)
class Release:
    """The last feature release of a framework that the file of facts knows.

    Attributes
    ----------
    version:
        As on PyPI.
    day:
        When it was released, as YYYY-MM-DD.
    known:
        Until when releases were gathered.
    """

    version: str
    day: str
    known: str


def latest(framework: str) -> Release | None:
    """The latest release that is known without a network; None of an unknown framework."""
    recorded = _recorded()
    facts = recorded["frameworks"].get(framework)
    if facts is None:
        return None
    day, version = max((str(day), version) for version, day in facts["releases"].items())
    return Release(version, day, str(recorded["cadence"]["to"]))


@cache
def _recorded() -> dict[str, Any]:
    """The file of facts."""
    found = OmegaConf.to_container(OmegaConf.load(_FACTS))
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _openness(framework: str) -> dict[str, Any]:
    """What is recorded of a framework, as fields of a score."""
    recorded = _recorded()
    facts = recorded["frameworks"].get(framework)
    if facts is None:
        unknown = dict.fromkeys(("licence", "governance", "release_cadence"), UNKNOWN)
        return {**unknown, "sources": [], "as_of": None}
    period = recorded["cadence"]
    history = f"https://pypi.org/project/{facts['package']}/#history"
    named = [fact["source"] for fact in (*facts["licence"], *facts["governance"])]
    return {
        "licence": _told(facts["licence"], recorded["as_of"]),
        "governance": _told(facts["governance"], recorded["as_of"]),
        "release_cadence": cadence(facts["releases"], period["from"], period["to"]),
        "sources": list(dict.fromkeys([*named, history])),
        "as_of": recorded["as_of"],
    }


def _told(facts: Sequence[dict[str, str]], gathered: str) -> str:
    """Statements in one paragraph; each has its date unless it was measured with the others."""
    return " ".join(
        fact["statement"]
        if fact["as_of"] == gathered
        else f"{fact['statement'].removesuffix('.')} ({fact['as_of']})."
        for fact in facts
    )

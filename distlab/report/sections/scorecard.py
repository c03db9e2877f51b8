"""The frameworks by the original study's three criteria: ease of programming, speed, openness.

The first two are measured, when the report is made and by the study; the third is a list of dated
facts with their sources (``openness.yaml``) and no ranking.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distlab.report.figures.cells import Cell
from distlab.report.figures.code_lines import backend_sources, count

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
        Logical lines of code of its backend in distlab, all modules together; None where its
        source is not in the driver's environment.
    code_files:
        Those modules as files: ``distlab/backends/torch/backend.py``.
    relative_speed:
        Geometric mean over the conditions of the study of its throughput over that of the fastest
        framework; None if it was never ranked beside another. See :func:`relative_speeds`.
    conditions:
        Number of conditions that this mean is of; where it differs between frameworks, their means
        are not of the same conditions.
    licence, governance, release_cadence:
        Facts in words, or ``no facts recorded``.
    sources:
        Links to the documents that the facts are from.
    as_of:
        When the facts were gathered, as YYYY-MM-DD; None without facts.
    """

    framework: str
    code_lines: int | None
    code_files: list[str]
    relative_speed: float | None
    conditions: int
    licence: str
    governance: str
    release_cadence: str
    sources: list[str]
    as_of: str | None


def scorecard(cells: Sequence[Cell]) -> list[Score]:
    """Score the frameworks of a study, in its order.

    Parameters
    ----------
    cells:
        All cells of the study; only the ranked ones count for speed.
    """
    speeds = relative_speeds(cells)
    scores = []
    for framework in dict.fromkeys(cell.framework for cell in cells):
        sources = backend_sources(framework)
        ratios = speeds.get(framework, [])
        scores.append(
            Score(
                framework=framework,
                code_lines=sum(map(count, sources.values())) if sources else None,
                code_files=list(sources),
                relative_speed=statistics.geometric_mean(ratios) if ratios else None,
                conditions=len(ratios),
                **_openness(framework),
            )
        )
    return scores


def relative_speeds(cells: Sequence[Cell]) -> dict[str, list[float]]:
    """Throughput of each framework over that of the fastest, by condition.

    A condition is all that must be equal for two runs to be compared, and the number of workers. A
    framework that ran there in several executions is taken at its fastest; a condition with less
    than two ranked frameworks compares nothing and is left out. Normalised figures are averaged by
    their geometric mean (Fleming and Wallace, 1986, "How not to lie with statistics: the correct
    way to summarize benchmark results", Communications of the ACM 29(3)).

    Returns
    -------
    dict
        For each framework that was compared its ratios, each in (0, 1], in the order of the cells.
    """
    conditions: dict[tuple[str | None, str, int], dict[str, float]] = {}
    for cell in cells:
        if cell.ranked and cell.throughput is not None:
            equal = cell.comparison_key, cell.precision, cell.world_size
            fastest = conditions.setdefault(equal, {})
            rate = max(cell.throughput.value, fastest.get(cell.framework, -math.inf))
            fastest[cell.framework] = rate
    ratios: dict[str, list[float]] = {}
    for rates in conditions.values():
        if len(rates) > 1:
            best = max(rates.values())
            for framework, rate in rates.items():
                ratios.setdefault(framework, []).append(rate / best)
    return ratios


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

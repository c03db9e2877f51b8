"""The report's tables as text, for a page, for Markdown and for the terminal alike."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distlab.measure.statistics import Estimate
from distlab.outcome import caveats
from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import ratio_text
from distlab.report.figures.runs import FP32, end, failed_checks, precision, reasons

NOTHING = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Value:
    """What stands in a table's field: a figure, what qualifies it, line by line, and links."""

    text: str
    detail: str = ""
    links: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.text} ({self.qualified})" if self.detail else self.text

    @property
    def qualified(self) -> str:
        """The detail on one line."""
        return self.detail.replace("\n", "; ")


@dataclass(frozen=True)
class Table:
    """A table: names of columns, rows of as many values, and what the first column is of.

    Attributes
    ----------
    title:
        Heading, without markup.
    wordy:
        Columns that hold words, which stand left; the others hold figures.
    prose:
        Those of them that hold sentences, which may be wrapped.
    best:
        Indices of rows that are told to be the fastest of their world size.
    opens:
        Indices of rows that begin another world size.
    """

    title: str
    columns: list[str]
    rows: list[list[Value]]
    wordy: frozenset[str] = frozenset()
    prose: frozenset[str] = frozenset()
    best: frozenset[int] = frozenset()
    opens: frozenset[int] = frozenset()


def not_ranked(cells: Sequence[Cell]) -> Table | None:
    """The cells that no claim is made of, and why; None where all are ranked."""
    rows = [
        [
            Value(cell.label),
            Value(f"{cell.model}, {cell.scaling}, batch {cell.batch_size}"),
            Value(f"{len(cell.counted)} of {len(cell.runs) + cell.failed}"),
            Value(why_not(cell)),
        ]
        for cell in cells
        if not cell.ranked
    ]
    columns = ["cell", "of", "runs that count", "why"]
    return _if_any("Cells that are not ranked", columns, rows)


def set_apart(study: dict[str, Any], cells: Sequence[Cell] = ()) -> Table | None:
    """Each run that no figure is from (unverified, with a caveat, failed); None without any."""
    rows = []
    differences = {cell.cell: cell.difference for cell in cells}
    for run in study["runs"]:
        if caveats.counts(run):
            continue
        doubts = caveats.doubts(run)
        why = [f"{name}: {detail}" for name, detail in failed_checks(run).items()]
        why += [caveat.detail for caveat in doubts]
        states = ["unverified"] * (not run["verified"])
        states += [code.words for code in caveats.codes(doubts)]
        rows.append(
            [
                *_whose(run, differences.get(run["cell"], "")),
                Value(", ".join(states)),
                Value(number(run.get("throughput_samples_per_s"))),
                Value("; ".join(why)),
            ]
        )
    for run in study.get("failed", []):
        error = str(run["error"]).strip() or "no reason given"
        log = f" (log: {run['log']})" if run.get("log") else ""
        rows.append(
            [
                *_whose(run, differences.get(run["cell"], "")),
                Value(end(run)),
                Value(NOTHING),
                Value(error + log),
            ]
        )
    columns = ["run", "of", "repeat", "state", "samples/s", "why"]
    return _if_any("Runs that no figure is from", columns, rows)


def loads(cells: Sequence[Cell]) -> Table | None:
    """How busy the machine was during the timed windows of each cell; None where unknown."""
    rows = []
    for cell in cells:
        known = [run["load"] for run in cell.runs if run.get("load")]
        if not known:
            continue
        own, other, steal = (
            [load[name] for load in known if load.get(name) is not None]
            for name in ("own_cores", "other_cores", "steal")
        )
        rows.append(
            [
                Value(cell.label),
                Value(f"{cell.model}, {cell.scaling}, batch {cell.batch_size}"),
                Value(str(known[0].get("cores", NOTHING))),
                Value(_range(own, "{:.2f}")),
                Value(_range(other, "{:.2f}")),
                Value(_range(steal, "{:.1%}")),
                Value(f"{sum(_noisy(run) for run in cell.runs)}"),
            ]
        )
    columns = ["cell", "of", "cores", "busy with the run", "busy with others", "stolen", "noisy"]
    title = "Load of the machine during timed windows"
    return _if_any(title, columns, rows)


def number(value: float | None, digits: int = 4) -> str:
    """A figure with so many significant digits; whole numbers are never cut short of a comma."""
    if value is None:
        return NOTHING
    if abs(value) >= 10 ** (digits - 1):
        return f"{round(value, digits - 1 - math.floor(math.log10(abs(value)))):,.0f}"
    return f"{value:#.{digits}g}".removesuffix(".")


def shown(value: float, kind: str) -> str:
    """A value as ``number``, ``seconds``, ``share`` (of 1), or by a format such as ``{:.1%}``."""
    if kind in ("number", "seconds"):
        return number(value, 4 if kind == "number" else 3)
    if kind == "share":
        return f"{number(100 * value, 2)}%"
    return kind.format(value)


def interval(estimate: Estimate, kind: str) -> str:
    """The bounds of the 95 % interval as :func:`shown`, or why there are none."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.n} run{'s' * (estimate.n != 1)}, no interval"
    return f"{shown(estimate.low, kind)} to {shown(estimate.high, kind)}"


def estimated(estimate: Estimate | None, kind: str = "number") -> Value:
    """An estimate as a table shows it.

    Parameters
    ----------
    estimate:
        The figure with its interval; None for one that isn't known.
    kind:
        ``figure``: with as many digits as its interval bears (:func:`digits`); ``ratio``: see
        :func:`distlab.report.figures.comparisons.ratio_text`; else as in :func:`shown`.
    """
    if estimate is None:
        return Value(NOTHING)
    if kind == "figure":
        places = digits(estimate)
        bounds = [number(b, places) for b in (estimate.low, estimate.high) if b is not None]
        return Value(number(estimate.value, places), " to ".join(bounds))
    if kind == "ratio" and estimate.low is not None and estimate.high is not None:
        bounds = [ratio_text(estimate, bound) for bound in (estimate.low, estimate.high)]
        return Value(ratio_text(estimate, estimate.value), " to ".join(bounds))
    kind = "{:.2f}" if kind == "ratio" else kind
    return Value(shown(estimate.value, kind), interval(estimate, kind))


def digits(estimate: Estimate) -> int:
    """Significant digits that a figure's interval bears: two of its half width, 2 to 5 in all.

    As of an uncertainty in the Guide to the Expression of Uncertainty in Measurement (JCGM
    100:2008, 7.2.6). Without an interval there are three.
    """
    if estimate.low is None or estimate.high is None or estimate.value <= 0:
        return 3
    half = (estimate.high - estimate.low) / 2
    if half <= 0:
        return 5
    places = math.floor(math.log10(estimate.value)) - math.floor(math.log10(half)) + 2
    return min(5, max(2, places))


def why_not(cell: Cell) -> str:
    """In a few words, why runs don't count (they are listed apart), and what is said of others."""
    counted = [caveats.codes(caveats.of(run)) for run in cell.counted]
    kept = Counter(code.words for codes in counted for code in codes)
    said = [
        reasons(cell.runs, cell.failed, cell.diverged),
        *(f"{n} {words}" for words, n in kept.items()),
    ]
    return ", ".join(filter(None, said))


def _noisy(run: dict[str, Any]) -> bool:
    return caveats.Code.noisy in caveats.codes(caveats.of(run))


def _whose(run: dict[str, Any], difference: str) -> list[Value]:
    size, device = run.get("world_size"), str(run.get("device") or "").upper()
    rounded = "" if precision(run) == FP32 else f", {precision(run)}"
    workers = f"{size or '?'} {device} worker{'s' * (size != 1)}{rounded}"
    return [
        Value(
            f"{' '.join(filter(None, (run['framework'], run['execution'], difference)))}, {workers}"
        ),
        Value(f"{run['model']}, {run['scaling']}, batch {run['batch_size']}"),
        Value(str(run["repeat"])),
    ]


def _if_any(title: str, columns: list[str], rows: list[list[Value]]) -> Table | None:
    wordy = frozenset({"cell", "run", "of", "state", "why"})
    return Table(title, columns, rows, wordy, frozenset({"why"})) if rows else None


def _range(values: Sequence[float], shown: str) -> str:
    if not values:
        return NOTHING
    low, high = shown.format(min(values)), shown.format(max(values))
    return low if low == high else f"{low} to {high}"

"""When compilation pays: the seconds that a graph takes to compile and those it saves an epoch.

A compiled framework spends seconds before the first step, and may then need fewer for each epoch.
Timed windows hold steps alone, so no throughput shows the former. With C the difference of the
compile times and S the difference of the times of an epoch, a graph has paid for itself after
C / S epochs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distlab.measure.blocks import difference
from distlab.measure.statistics import Estimate
from distlab.report.figures.cell import Cell
from distlab.report.figures.cells import mean_epochs
from distlab.report.figures.comparisons import Comparison
from distlab.report.sections.tables import Table, Value, estimated, number

EAGER, GRAPH = "eager", "graph"

After = tuple[int, int | None, int | None]
"""A number of epochs, and at either bound of the interval."""


@dataclass(frozen=True)
class BreakEven:
    """Graph and eager of one framework under equal conditions.

    Attributes
    ----------
    eager, graph:
        The two cells.
    compile_s:
        How many seconds longer the graph compiles; negative if it is the quicker one.
    saved_s:
        Seconds an epoch that the graph saves (negative: that it costs), from the pairs of runs,
        with a 95 % interval.
    after:
        Epochs after which the graph has paid, as a whole number at least 0; None if it doesn't, or
        if that can't be told.
    after_low, after_high:
        That number at the bounds of the interval; None if ``after`` is.
    cold_after:
        The same with its bounds where the graph's steps came from a cache, had nothing been found
        there; None where that isn't known.
    told:
        Whether the report tells the two throughputs apart, and the interval of ``saved_s``
        excludes 0.
    sentence:
        All of it in words.
    """

    eager: Cell
    graph: Cell
    compile_s: float
    saved_s: Estimate
    after: int | None
    after_low: int | None
    after_high: int | None
    cold_after: "After | None"
    told: bool
    sentence: str

    @property
    def outcome(self) -> str:
        """When it pays, in a few words."""
        if self.after is not None:
            warm = _epochs(self.after, self.after_low, self.after_high)
            return warm if self.cold_after is None else f"{warm}; cold {_epochs(*self.cold_after)}"
        return "does not pay" if self.told else "not told"


def break_evens(comparisons: Sequence[Comparison]) -> list[BreakEven]:
    """Set each graph against the eager execution of the same framework, in the report's order.

    Cells are paired that differ in execution alone, and whose compile times are known
    (:attr:`distlab.report.figures.cells.Cell.compile_s`).

    Parameters
    ----------
    comparisons:
        All comparisons of the report.
    """
    found = []
    for compared in comparisons:
        one, other = compared.faster, compared.slower
        pair = {cell.execution: cell for cell in (one, other)}
        alike = all(
            getattr(one, name) == getattr(other, name)
            for name in ("framework", "framework_version", "apart")
        )
        if alike and pair.keys() == {EAGER, GRAPH}:
            made = _break_even(pair[EAGER], pair[GRAPH], compared.told)
            found += [] if made is None else [made]
    return found


def table(found: Sequence[BreakEven]) -> Table:
    """A row for each pair: what both take to compile and for an epoch, and when the graph pays."""
    columns = ["framework", "of", "compile, s", "epoch, s", "saved an epoch, s", "pays after"]
    return Table(
        "Graph against eager",
        columns,
        [_row(pair) for pair in found],
        wordy=frozenset({"framework", "of", "pays after"}),
    )


def _row(pair: BreakEven) -> list[Value]:
    cell = pair.graph
    return [
        Value(f"{cell.framework} {cell.difference}".rstrip(), cell.framework_version or ""),
        Value(
            f"{cell.model}, {cell.workers}{cell.rounded}",
            f"{cell.scaling} scaling, batch {cell.batch_size}",
        ),
        Value(
            f"graph {number(cell.compile_s, 3)}{' (cached)' * bool(cell.compile_cached)}",
            f"cold {number(cell.compile_cold_s, 2)}\n" * _from_cache(cell)
            + f"eager {number(pair.eager.compile_s, 3)}",
        ),
        Value(
            f"graph {number(_value(cell.epoch_time_s), 3)}",
            f"eager {number(_value(pair.eager.epoch_time_s), 3)}",
        ),
        estimated(pair.saved_s, "seconds"),
        Value(pair.outcome),
    ]


def _from_cache(cell: Cell) -> bool:
    """Whether its steps came from a cache that tells what they took to compile."""
    return bool(cell.compile_cached) and cell.compile_cold_s is not None


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _break_even(eager: Cell, graph: Cell, told: bool) -> BreakEven | None:
    if eager.compile_s is None or graph.compile_s is None:
        return None
    longer = graph.compile_s - eager.compile_s
    saved = difference(mean_epochs(eager.counted), mean_epochs(graph.counted))
    told = told and saved.excludes(0.0)
    after, low, high = _after(longer, saved) if told else (None, None, None)
    cold = _cold(eager, graph, saved) if told else None
    return BreakEven(
        eager=eager,
        graph=graph,
        compile_s=longer,
        saved_s=saved,
        after=after,
        after_low=low,
        after_high=high,
        cold_after=cold,
        told=told,
        sentence=_sentence(graph, longer, saved, told, (after, low, high))
        + _cold_words(graph, cold),
    )


def _cold(eager: Cell, graph: Cell, saved: Estimate) -> After | None:
    """After how many epochs a graph pays that finds nothing in a cache."""
    if not _from_cache(graph) or graph.compile_cold_s is None or eager.compile_s is None:
        return None
    count, low, high = _after(graph.compile_cold_s - eager.compile_s, saved)
    return None if count is None else (count, low, high)


def _cold_words(graph: Cell, cold: After | None) -> str:
    if not _from_cache(graph) or graph.compile_cold_s is None:
        return ""
    pays = "" if cold is None else f", and pays after {_epochs(*cold)}"
    took = _seconds(graph.compile_cold_s)
    return f" (its steps came from a cache; compiled cold it takes {took}{pays})"


def _after(longer: float, saved: Estimate) -> tuple[int | None, int | None, int | None]:
    """Epochs until the graph pays, if it saves any: value, and at either bound of the interval."""
    if saved.low is None or saved.high is None or saved.value <= 0:
        return None, None, None
    value, low, high = (
        max(0, math.ceil(longer / saving)) for saving in (saved.value, saved.high, saved.low)
    )
    return value, low, high


def _sentence(
    graph: Cell,
    longer: float,
    saved: Estimate,
    told: bool,
    after: tuple[int | None, int | None, int | None],
) -> str:
    difference = f", {graph.difference}" if graph.difference else ""
    compiles = "longer" if longer >= 0 else "less long"
    said = (
        f"{graph.framework}, {graph.model} of {graph.data} on {graph.workers} ({graph.scaling} "
        f"scaling, batch {graph.batch_size}{graph.rounded}{difference}): graph compiles for "
        f"{_seconds(abs(longer))} {compiles}"
    )
    if not told:
        bounds = (
            f"from {saved.n} repeat{'s' * (saved.n != 1)}, no interval"
            if saved.low is None or saved.high is None
            else f"95% CI {_signed(saved.low)} to {_signed(saved.high)}"
        )
        return (
            f"{said}, and whether it saves time in an epoch cannot be told ({_signed(saved.value)} "
            f"an epoch, {bounds}): no number of epochs can be given"
        )
    if saved.value <= 0:
        return f"{said} and loses {_seconds(-saved.value)} an epoch{_interval(saved, -1)}: it " + (
            "does not pay" if longer >= 0 else "pays for short runs alone"
        )
    said = f"{said} and saves {_seconds(saved.value)} an epoch{_interval(saved, 1)}"
    count, low, high = after
    if longer <= 0 or count is None:
        return f"{said}: it pays from the first epoch"
    return f"{said}: it pays after {_epochs(count, low, high)}"


def _interval(saved: Estimate, sign: int) -> str:
    if saved.low is None or saved.high is None:
        return ""
    low, high = sorted((sign * saved.low, sign * saved.high))
    return f" (95% CI {_seconds(low).removesuffix(' s')} to {_seconds(high)})"


def _epochs(count: int, low: int | None, high: int | None) -> str:
    bounds = "" if low is None or high is None or low == high else f" ({low} to {high})"
    return f"{count} epoch{'s' * (count != 1)}{bounds}"


def _seconds(value: float) -> str:
    return f"{value:#.3g}".removesuffix(".") + " s"


def _signed(value: float) -> str:
    return f"{value:+#.3g}".removesuffix(".") + " s"

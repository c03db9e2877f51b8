"""Predictions in tables and words: for more workers, and beside what was measured."""

from collections.abc import Sequence

from distlab.measure.scaling import Range
from distlab.measure.statistics import Estimate
from distlab.report.figures.prediction.evidence import UNREPEATED, Point
from distlab.report.figures.prediction.outlook import Outlook, Predicted
from distlab.report.sections.tables import NOTHING, Table, Value, estimated

WORDY = frozenset({"framework", "beside it"})


def forecasts(outlooks: Sequence[Outlook]) -> list[Table]:
    """What is predicted of more workers: a table for each group of cells."""
    columns = ["framework", "workers", "samples/s", "efficiency", "exchange", "measured"]
    made = []
    for title in dict.fromkeys(one.series.group.title for one in outlooks):
        rows: list[list[Value]] = []
        opens: set[int] = set()
        for one in outlooks:
            if one.series.group.title != title:
                continue
            opens |= {len(rows)} if rows else set()
            rows += [
                [
                    Value(one.series.name),
                    Value(f"{row.workers:,}"),
                    _figure(row.throughput),
                    _share(row.efficiency),
                    Value(f"{row.exchange:.0%}"),
                    _measured(row),
                ]
                for row in one.predicted
            ]
        made.append(Table(title, columns, rows, WORDY, opens=frozenset(opens)))
    return made


def beside(outlooks: Sequence[Outlook]) -> Table | None:
    """Predictions beside what was measured on numbers of workers that they are not made of."""
    columns = ["framework", "of", "made of", "workers", "predicted", "measured", "off", "in range"]
    rows = [
        [
            Value(one.series.name),
            Value(one.series.group.title),
            Value(f"{'1 and ' * (1 in one.series.points)}{one.base.workers} workers"),
            Value(str(row.workers)),
            _figure(row.throughput),
            _measured(row),
            Value(f"{row.off:+.0%}"),
            Value("yes" if held(row) else "no"),
        ]
        for one in outlooks
        for row in one.predicted
        if row.off is not None
    ]
    wordy = frozenset({"framework", "of", "made of", "in range"})
    title = "Samples a second of more workers"
    return Table(title, columns, rows, wordy) if rows else None


def fitted(outlooks: Sequence[Outlook]) -> Table | None:
    """The all-reduces of each program, and how far they are off the times that were measured."""
    columns = ["framework", "of", "workers", "hosts", "algorithm", "latency, us", "GB/s", "off"]
    rows = [
        [
            Value(one.series.name),
            Value(one.series.group.title),
            Value(_sizes(one)),
            Value(NOTHING if one.base.hosts is None else str(one.base.hosts)),
            Value(one.fit.algorithm, "" if _several(one) else "any fits"),
            Value(f"{one.fit.alpha * 1e6:.3g}"),
            Value(f"{1e-9 / one.fit.beta:.3g}" if one.fit.beta > 0 else NOTHING),
            Value(f"{one.fit.error:.0%}"),
        ]
        for one in outlooks
    ]
    wordy = frozenset({"framework", "of", "algorithm"})
    return Table("All-reduces, as fitted", columns, rows, wordy) if rows else None


def held(row: Predicted) -> bool:
    """Whether the range holds what was measured, within what too few runs may be off."""
    if row.measured is None:
        return False
    return row.throughput.low <= row.measured <= row.throughput.high


def notes(one: Outlook) -> list[str]:
    """What must be known of a prediction, a sentence each."""
    said = [f"{_rests(one)}; {_exchange(one)}."]
    if one.doubted:
        said.append(
            "They are made of runs that don't count, because the machine was too noisy: repeat the "
            "study on an idle one before believing them."
        )
    smallest = one.base.global_batch / one.base.workers
    if one.base.cell.scaling == "strong" and any(
        one.base.global_batch / row.workers < smallest for row in one.predicted
    ):
        said.append(
            f"Steps of fewer samples than {smallest:g} a worker were not measured: their computing "
            "is extrapolated, too."
        )
    return [f"{one.series.name}: {sentence}" for sentence in said]


def _rests(one: Outlook) -> str:
    """What it is extrapolated from, and what was not measured."""
    hosts = one.base.hosts
    where = {None: "hosts that were not recorded", 1: "1 host"}.get(hosts, f"{hosts} hosts")
    said = f"extrapolated from {_sizes(one)} workers on {where}"
    if hosts == 1:
        said += "; nothing of your network between hosts was measured"
    return said


def _exchange(one: Outlook) -> str:
    """The all-reduce that was fitted."""
    fit = one.fit
    which = "fits best" if _several(one) else "is supposed, of one number of workers any would fit"
    rate = f", {1 / fit.beta / 1e9:.3g} GB/s" if fit.beta > 0 else ""
    return (
        f"an all-reduce by {fit.algorithm} {which}: latency {fit.alpha * 1e6:,.0f} microseconds"
        f"{rate}, {fit.error:.0%} off the times that were measured"
    )


def _sizes(one: Outlook) -> str:
    """The numbers of workers that a prediction is made of."""
    return " and ".join(str(point.workers) for point in one.fitted)


def _several(one: Outlook) -> bool:
    """Whether they are several, so that one algorithm fits better than another."""
    return len(one.fitted) > 1


def few(points: Sequence[Point]) -> bool:
    """Whether a throughput among them has no interval of its own."""
    return any(point.cell.throughput is None or point.cell.throughput.low is None
               for point in points)  # fmt: skip


def repeats(outlooks: Sequence[Outlook]) -> str:
    """What is said where repeats are too few; nothing where they are not."""
    if not few([point for one in outlooks for point in one.fitted]):
        return ""
    return f"With fewer than three repeats, a throughput is taken to be known to {UNREPEATED:.0%}."


def _figure(found: Range) -> Value:
    return estimated(Estimate(found.value, found.low, found.high, 0), "figure")


def _share(found: Range | None) -> Value:
    if found is None:
        return Value(NOTHING)
    return Value(f"{found.value:.0%}", f"{found.low:.0%} to {found.high:.0%}")


def _measured(row: Predicted) -> Value:
    if row.measured is None:
        return Value(NOTHING)
    return Value(estimated(Estimate(row.measured, None, None, 0), "number").text, row.doubt)

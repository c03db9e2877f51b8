"""The table that compares runs, for the terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

from distlab.experiment.names import HELD, distinguishing, phrases
from distlab.experiment.training import stopping
from distlab.outcome import caveats, exchange
from distlab.report.figures.runs import FP32, hosts, mean_epoch, options, precision

Summary = dict[str, Any]
Row = tuple[str, Callable[[Summary], str]]

COLUMNS_AT_MOST = 3
DROPPED_FIRST = ("step ms", "accuracy")
"""Figures that a narrow terminal leaves out, in this order."""


def results(summaries: list[Summary]) -> RenderableType:
    """The runs side by side; conditions that several runs share stand in the title.

    Up to three runs are columns, with all figures; more are rows, with the main ones, of which a
    narrow terminal leaves some out.
    """
    many = len(summaries) > COLUMNS_AT_MOST
    rounded = any(precision(summary) != FP32 for summary in summaries)
    hidden = [name for name, hide in (("workers", many), ("precision", not rounded)) if hide]
    conditions = [row for row in _CONDITIONS if row[0] not in hidden]
    if many:
        conditions = [(name, _BRIEF.get(name, show)) for name, show in conditions]
    shared = [
        (name, show)
        for name, show in conditions
        if len(summaries) > 1 and len({show(summary) for summary in summaries}) == 1
    ]
    title = ", ".join(f"{name} {show(summaries[0])}" for name, show in shared) or None
    scaled = any(summary.get("speedup") and summary["world_size"] > 1 for summary in summaries)
    own = [row for row in conditions if row not in shared]
    own += _COMPACT if many else _FIGURES
    if not many and any(map(exchange.in_words, summaries)):
        own.insert(len(own) - 1, ("exchange", lambda s: exchange.in_words(s) or "-"))
    if not many and any(len(_sizes(summary)) > 1 for summary in summaries):
        own.insert(len(own) - 1, ("by workers", _by_size))
    own += [("speed-up", _brief_scaling if many else _scaling)] * scaled
    if many:
        return _Rows(title, own, summaries)
    difference = _differences(summaries, many)
    table = Table(header_style="bold", title=title, title_justify="left", box=HEAVY_HEAD)
    table.add_column("", no_wrap=True)
    for summary, told in zip(summaries, difference, strict=True):
        table.add_column("\n".join([_framework(summary), *told]), justify="right")
    for name, show in own:
        table.add_row(name, *(show(summary) for summary in summaries))
    return table


@dataclass(frozen=True)
class _Rows:
    """A row for each run, with as many figures as there is room for."""

    title: str | None
    shown: list[Row]
    summaries: list[Summary]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept, table = self.shown, self._table(self.shown)
        unbounded = options.update(width=10_000)
        for dropped in DROPPED_FIRST:
            if Measurement.get(console, unbounded, table).maximum <= options.max_width:
                break
            kept = [row for row in kept if row[0] != dropped]
            table = self._table(kept)
        yield table

    def _table(self, kept: list[Row]) -> Table:
        left_out = [name for name, _ in self.shown if name not in [name for name, _ in kept]]
        table = Table(
            header_style="bold",
            title=self.title,
            title_justify="left",
            caption=f"no room for: {', '.join(left_out)}" if left_out else None,
            caption_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
            padding=(0, 1, 0, 0),
        )
        table.add_column("framework", no_wrap=True)
        for name, _ in kept:
            table.add_column(name, justify="right", no_wrap=True)
        for summary, told in zip(self.summaries, _differences(self.summaries, True), strict=True):
            name = " ".join([summary["framework"], summary["execution"], *told])
            table.add_row(name, *(show(summary) for _, show in kept))
        return table


def _differences(summaries: list[Summary], many: bool) -> list[list[str]]:
    """What tells each run's cell from the others, but for what a row or column of its own shows."""
    shown = () if many else ("threads_per_worker",)
    held = (*HELD, "device", "data", "epochs", "batch_size", "scaling", *shown)
    return [phrases(told) for told in distinguishing([options(one) for one in summaries], held)]


def _framework(summary: Summary) -> str:
    return f"{summary['framework']} {summary['framework_version']}"


def _accuracy(summary: Summary) -> str:
    """After the last epoch; of noise there is none."""
    accuracy = summary["test_accuracy"][-1]
    return "-" if accuracy is None else f"{accuracy:.2%}"


def _time_to_accuracy(summary: Summary) -> str:
    if summary["test_accuracy"][-1] is None:
        return "-"
    seconds = summary["time_to_accuracy_s"]
    target = f"{summary['target_accuracy']:.1%}"
    if seconds is None:
        return f"not reached ({target})"
    finely = summary.get("time_to_accuracy_resolution_s")
    within = "" if finely is None else f", known to {finely:.2g} s"
    return f"{seconds:.2f} s ({target}{within})"


def _verified(summary: Summary) -> str:
    if summary["verified"]:
        found = caveats.words(caveats.of(summary))
        return f"yes, but {found}" if found else "yes"
    failed = [name for name, check in summary["checks"].items() if not check["passed"]]
    return f"NO: {', '.join(failed)}"


def _workers(summary: Summary) -> str:
    threads = summary["threads_per_worker"]
    each = f"{threads} thread{'s' * (threads > 1)} each"
    places = hosts(summary)
    return f"{summary['world_size']} x {summary['device']} ({each})" + (
        f" on {places} hosts" if places > 1 else ""
    )


def _sizes(summary: Summary) -> list[dict[str, Any]]:
    """What was trained on how many workers; nothing of a run recorded before that was told."""
    return summary.get("sizes") or []


def _by_size(summary: Summary) -> str:
    told = []
    for one in _sizes(summary):
        efficiency = one["efficiency"]
        told.append(
            f"{one['world_size']}: {one['throughput_samples_per_s']:,.0f} samples/s"
            + ("" if efficiency is None else f" ({efficiency:.0%} efficient)")
        )
    return "\n".join(told)


def _scaling(summary: Summary) -> str:
    if caveats.doubts(summary):
        return "not ranked"
    if summary.get("speedup") is None:
        return "no baseline"
    return f"{summary['speedup']:.2f} {summary['scaling_efficiency']:.0%}"


def _brief_scaling(summary: Summary) -> str:
    return _scaling(summary) if summary.get("speedup") is not None else "-"


def _brief_verified(summary: Summary) -> str:
    """As :func:`_verified`, with a line for each failed check and each caveat."""
    told = _verified(summary)
    but = told.removeprefix("yes, but ")
    return but.replace(", ", ",\n") if but != told else told.replace(" ", "\n")


def _brief_batch(summary: Summary) -> str:
    return f"{summary['batch_size']} {'a worker' if summary['scaling'] == 'weak' else 'in all'}"


def _step_ms(summary: Summary) -> float:
    """The mean time of a step, also of runs that were recorded without it."""
    epochs, steps = summary["epoch_time_s"], summary.get("steps")
    return 1e3 * sum(epochs) / (steps or len(epochs) * int(summary["steps_per_epoch"]))


def _percentiles(summary: Summary) -> str:
    """Percentiles of the step time, as far as there were spans enough for them.

    Earlier versions recorded some of as few spans as there were, and not how many.
    """
    told = summary["step_time_ms"]
    known = [told[name] if "spans" in told else None for name in ("p50", "p95", "p99")]
    if known == [None] * 3:
        return "-"
    return ", ".join("-" if one is None else f"{one:.2f}" for one in known) + " ms"


_CONDITIONS: list[Row] = [
    ("model", lambda s: f"{s['model']} ({s['parameters']:,} parameters)"),
    ("data", lambda s: s["data"]),
    ("workers", _workers),
    ("batch", lambda s: f"{s['global_batch_size']} global ({s['scaling']} scaling)"),
    ("precision", precision),
    ("epochs", stopping.passed),
]

# The same in fewer characters, where runs are rows.
_BRIEF: dict[str, Callable[[Summary], str]] = {
    "model": lambda s: str(s["model"]),
    "batch": _brief_batch,
}

_FIGURES: list[Row] = [
    ("execution", lambda s: s["execution"]),
    ("throughput", lambda s: f"{s['throughput_samples_per_s']:,.0f} samples/s"),
    ("step time, mean", lambda s: f"{_step_ms(s):.2f} ms"),
    ("p50, p95, p99", _percentiles),
    ("epoch, mean", lambda s: f"{mean_epoch(s):.2f} s"),
    ("test accuracy", _accuracy),
    ("time to accuracy", _time_to_accuracy),
    ("compilation", lambda s: f"{s['compile_s']:.1f} s"),
    ("start-up", lambda s: f"{s['startup_s']:.1f} s"),
    ("whole run", lambda s: f"{s['wall_s']:.1f} s"),
    ("verified", _verified),
]

_COMPACT: list[Row] = [
    ("workers", lambda s: f"{s['world_size']} {s['device']}"),
    ("samples/s", lambda s: f"{s['throughput_samples_per_s']:,.0f}"),
    ("step ms", lambda s: f"{_step_ms(s):.2f}"),
    ("accuracy", _accuracy),
    ("verified", _brief_verified),
]

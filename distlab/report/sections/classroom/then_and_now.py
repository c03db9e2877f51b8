"""The classroom study: the original comparison's published times beside those of a rerun.

The original trained the MLP on a CPU and LeNet-5 on one NVIDIA V100, for 10 epochs at batch 64
with Adam at a learning rate of 0.001, ten times each, and published the mean time of each
framework. Its hardware and its software were others than ours, so that seconds can't be compared;
the frameworks' order and the ratios between them can.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distlab.measure.statistics import Estimate
from distlab.report.figures.cell import Cell
from distlab.report.figures.comparisons import Comparison
from distlab.report.figures.runs import FP32

NAMES = {"torch": "PyTorch", "tf": "TensorFlow", "paddle": "Paddle"}
RUNS = 10


@dataclass(frozen=True)
class Published:
    """What the original published of one model.

    Attributes
    ----------
    device:
        Its hardware, in words.
    seconds:
        Mean seconds of ten runs, by framework.
    """

    device: str
    seconds: Mapping[str, float]


PUBLISHED = {
    "mlp": Published("a CPU", {"tf": 87.0, "torch": 74.0, "paddle": 110.0}),
    "lenet5": Published("an NVIDIA V100 GPU", {"tf": 143.0, "torch": 120.0, "paddle": 252.0}),
}


@dataclass(frozen=True)
class Entry:
    """One framework, then and now.

    Attributes
    ----------
    framework, name:
        distlab's name of the framework, and its own.
    then_s:
        Published mean, in seconds.
    now_s, now_sd_s:
        Mean of our runs' training time (all epochs' windows) and its sample standard deviation;
        None where no run counts, or one alone.
    whole_s:
        Mean of our whole runs, from start-up to record; None where no run counts.
    runs:
        Number of our runs that count.
    """

    framework: str
    name: str
    then_s: float
    now_s: float | None
    now_sd_s: float | None
    whole_s: float | None
    runs: int


@dataclass(frozen=True)
class Ratio:
    """How many times as long one framework took as another, then and now.

    Attributes
    ----------
    slower, faster:
        The frameworks' own names; which is which goes by the published times.
    then:
        Ratio of the published means; no interval was published.
    now:
        The same ratio of ours, below 1 where the order has turned; None where one has no figure.
    told:
        Whether the report tells ours apart.
    """

    slower: str
    faster: str
    then: float
    now: Estimate | None
    told: bool


@dataclass(frozen=True)
class Classroom:
    """The published figures of one model beside ours.

    Attributes
    ----------
    model:
        ``mlp`` or ``lenet5``.
    then_device, now_device:
        The hardware, in words.
    entries:
        The frameworks, in the published order from fast to slow.
    ratios:
        Every two of them.
    order_then, order_now:
        Their own names from fast to slow, now by mean training time; those without figures of ours
        are missing from ``order_now``.
    kept:
        True if ours tells every two apart as the published order has them, False if it tells two
        apart the other way round; None if neither, or where a framework has no figure.
    sentences:
        All of it in words.
    """

    model: str
    then_device: str
    now_device: str
    entries: list[Entry]
    ratios: list[Ratio]
    order_then: list[str]
    order_now: list[str]
    kept: bool | None
    sentences: list[str]


def classroom(
    study: Mapping[str, Any], cells: Sequence[Cell], comparisons: Sequence[Comparison]
) -> Classroom | None:
    """Set a classroom study's figures beside the published ones.

    Parameters
    ----------
    study:
        The study as data.
    cells:
        Its cells. Of each framework, the first in fp32 with one worker is taken; if it isn't
        ranked, it has no figure.
    comparisons:
        What the report compares.

    Returns
    -------
    Classroom or None
        None if the study's experiment is no classroom study.
    """
    experiment = str(study.get("experiment") or "")
    model = experiment.removeprefix("classroom_")
    if model == experiment or model not in PUBLISHED:
        return None
    published = PUBLISHED[model]
    order = sorted(published.seconds, key=lambda name: published.seconds[name])
    chosen = {name: _chosen(name, model, cells) for name in order}
    entries = [_entry(name, published.seconds[name], chosen[name]) for name in order]
    ratios = [
        Ratio(
            slower=NAMES[slower],
            faster=NAMES[faster],
            then=published.seconds[slower] / published.seconds[faster],
            **_now(chosen[slower], chosen[faster], comparisons),
        )
        for faster, slower in itertools.combinations(order, 2)
    ]
    known = [(entry.now_s, entry.name) for entry in entries if entry.now_s is not None]
    order_then, order_now = [entry.name for entry in entries], [name for _, name in sorted(known)]
    kept = _kept(ratios)
    devices = dict.fromkeys(_device(cell) for cell in cells if cell.model == model)
    now_device = " and ".join(devices) or "no device"
    return Classroom(
        model=model,
        then_device=published.device,
        now_device=now_device,
        entries=entries,
        ratios=ratios,
        order_then=order_then,
        order_now=order_now,
        kept=kept,
        sentences=[
            f"The hardware differs: {published.device} then, {now_device} now. Only the order of "
            "the frameworks and the ratios between them can be compared, and no seconds.",
            _order(order_then, order_now, kept),
            *(_ratio(found) for found in ratios),
            *(_missing(entry, chosen[entry.framework]) for entry in entries if not entry.now_s),
            *(
                f"{entry.name}'s mean is of {entry.runs} of our runs; the published one is of "
                f"{RUNS}."
                for entry in entries
                if entry.now_s and entry.runs != RUNS
            ),
        ],
    )


def _chosen(framework: str, model: str, cells: Sequence[Cell]) -> Cell | None:
    wanted = framework, model, 1, FP32
    alike = (
        cell
        for cell in cells
        if (cell.framework, cell.model, cell.world_size, cell.precision) == wanted
        and not any(run.get("stopped") for run in cell.counted)
    )
    return next(alike, None)


def _entry(framework: str, then_s: float, cell: Cell | None) -> Entry:
    runs = cell.counted if cell is not None and cell.ranked else []
    times = [sum(run["epoch_time_s"]) for run in runs]
    return Entry(
        framework=framework,
        name=NAMES[framework],
        then_s=then_s,
        now_s=statistics.fmean(times) if times else None,
        now_sd_s=statistics.stdev(times) if len(times) > 1 else None,
        whole_s=statistics.fmean(run["wall_s"] for run in runs) if runs else None,
        runs=len(runs),
    )


def _now(
    slower: Cell | None, faster: Cell | None, comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    """Ratio of training times; the samples are the same, so it is that of throughputs inverted."""
    for pair in comparisons:
        if pair.faster is faster and pair.slower is slower:
            return {"now": pair.ratio, "told": pair.told}
        if pair.faster is slower and pair.slower is faster:
            return {"now": pair.ratio.inverted(), "told": pair.told}
    return {"now": None, "told": False}


def _kept(ratios: Sequence[Ratio]) -> bool | None:
    if any(found.now is None for found in ratios):
        return None
    if any(found.told and found.now is not None and found.now.value < 1 for found in ratios):
        return False
    return True if all(found.told for found in ratios) else None


def _device(cell: Cell) -> str:
    if cell.device_name is None:
        return f"1 {cell.device.upper()}"
    return cell.device_name


def _order(then: Sequence[str], now: Sequence[str], kept: bool | None) -> str:
    before = ", ".join(then)
    if kept is None and len(now) < len(then):
        known = f"; ours so far: {', '.join(now)}" if len(now) > 1 else ""
        return f"Published order from fast to slow: {before}. Ours is incomplete{known}."
    if kept is None:
        return (
            f"The published order, from fast to slow, is neither kept nor refuted: {before} then; "
            "of ours, not every two can be told apart."
        )
    if kept:
        return f"The published order, from fast to slow, is kept: {before}."
    return (
        f"The published order, from fast to slow, is not kept: {before} then, {', '.join(now)} now."
    )


def _ratio(found: Ratio) -> str:
    said = f"{found.slower} took {found.then:.2f} times as long as {found.faster} then"
    if found.now is None:
        return f"{said}; we have no ratio."
    now = f"{said}, and {found.now.value:.2f} times as long now"
    if found.now.low is None or found.now.high is None:
        return f"{now} (from {found.now.n} repeats, too few for an interval)."
    interval = f"95% CI {found.now.low:.2f} to {found.now.high:.2f}"
    if not found.told:
        return f"{now} ({interval}: no difference can be told now)."
    return f"{now} ({interval})."


def _missing(entry: Entry, cell: Cell | None) -> str:
    if cell is None:
        return f"{entry.name} has no fp32 run with one worker in this study."
    repeats = len(cell.runs) + cell.failed
    return (
        f"{entry.name} has no figure: of its {repeats} repeats in this study {len(cell.counted)} "
        "count, and more than half must."
    )

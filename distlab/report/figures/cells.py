"""A study's cells: the repeats of one experiment, and the figures that are told of them.

Everything that a report tells is found here and in the modules beside it, from the study as data
and nothing else; what draws or writes a report computes no figure of its own.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distlab.experiment.names import HELD, distinguishing, phrases, words
from distlab.measure.blocks import Measured, Sample, mean
from distlab.measure.statistics import Estimate
from distlab.outcome.caveats import counts
from distlab.report.figures import compiling, exchange
from distlab.report.figures.baselines import over_one_worker
from distlab.report.figures.ceiling import Place, ceilings, place
from distlab.report.figures.runs import (
    FP32,
    SPEED,
    Run,
    end,
    hosts,
    mean_epoch,
    options,
    precision,
    problems,
    sample,
)

IN_TITLES = ("scaling", "batch_size")
"""Options that the title of a table or plot holds (:mod:`distlab.report.figures.groups`)."""


@dataclass(frozen=True)
class Cell:
    """One experiment of a study with all its repeats.

    What stands as None under the conditions is unknown, because every repeat failed before it was
    known. Figures are from the counted runs alone, and None without any; those with an interval are
    geometric means over repeats (:mod:`distlab.measure.blocks`) unless they are said not to be.

    Attributes
    ----------
    cell:
        Hash of the experiment; equal for its repeats.
    framework, framework_version, execution, precision, model, data, device, device_name,
    world_size, scaling, batch_size, global_batch_size, threads_per_worker, epochs, seed,
    comparison_key:
        The conditions, as in a run's summary; runs recorded without a precision are ``fp32``.
    hosts:
        On how many hosts its runs were, each number once.
    options:
        The options that make up the cell, as text, as far as they were recorded.
    varied, apart:
        Those of them that tell it from the study's other cells, and from those that it may be
        compared with.
    runs:
        Summaries of all finished runs, in order of repeat.
    failed:
        Number of repeats that failed and were not made up for.
    diverged:
        How many of those failed because their training diverged.
    counted:
        Those of ``runs`` that are verified and have no caveat that keeps them out of rankings.
    throughput:
        Samples/s of the whole job.
    epoch_time_s:
        Seconds of an epoch's window, the mean of each run's.
    training_time_s:
        Seconds of all epochs' windows of a run.
    speedup, efficiency:
        The throughput over that of the ranked cell with one worker that differs in nothing else,
        and the same over the number of workers. 1 without an interval, by definition, with one.
    baseline:
        What the speed-up is measured against: ``this study``, or ``run <id>`` from the store.
    accuracy_mean, accuracy_sd:
        Test accuracy after the last epoch: mean, and sample standard deviation (n - 1).
    time_to_accuracy_s:
        Training seconds to the target accuracy. Where some runs didn't reach it, they are slower
        than all that did, and this is the median without an interval; None if half or more didn't.
    reached:
        How many of the counted runs reached the target accuracy.
    resolution_s:
        How finely the time to it is known, at worst, with ``evaluate.every``; else None.
    startup_s, job_s, compile_s:
        Seconds: to the first step, from the command to the record, and of compiling; medians,
        without intervals, of the runs in freshly started processes. Without one, compile time is
        that of the cell's first run, in processes that were kept from other cells.
    compile_cached, compile_cold_s:
        Whether compiled steps of an earlier run were found in those runs, and the seconds that
        compiling took where nothing was found; None where it isn't known.
    communication_share:
        Share of 1: the geometric mean is that of 1 less the share.
    model_flop_utilisation:
        Share of 1: the model's own operations a second over what the study's machine can multiply
        (:mod:`distlab.report.figures.ceiling`).
    communication_told:
        Whether the communication share is told from 0: its interval lies above, or, with too few
        runs for one, that of each run. None without a share.
    peak_memory_bytes:
        The greatest of the runs: the host's memory of a worker, also where it has a GPU.
    spread:
        Greatest less smallest throughput, over the mean.
    groups:
        How many groups of worker processes made the counted runs; 0 where that isn't known.
    problems:
        In words, why runs failed or don't count.
    ranked:
        Whether more than half of the repeats count; if not, no claim is made of this cell.
    """

    cell: str
    framework: str
    framework_version: str | None
    execution: str
    precision: str
    model: str
    data: str | None
    device: str
    device_name: str | None
    world_size: int
    scaling: str
    batch_size: int
    global_batch_size: int | None
    threads_per_worker: int | None
    epochs: int | None
    seed: int | None
    comparison_key: str | None
    hosts: tuple[int, ...]
    options: dict[str, str]
    varied: dict[str, str]
    apart: dict[str, str]
    runs: list[Run]
    failed: int
    diverged: int
    counted: list[Run]
    throughput: Estimate | None
    epoch_time_s: Estimate | None
    training_time_s: Estimate | None
    speedup: Estimate | None
    efficiency: Estimate | None
    baseline: str | None
    accuracy_mean: float | None
    accuracy_sd: float | None
    time_to_accuracy_s: Estimate | None
    reached: int
    resolution_s: float | None
    startup_s: float | None
    job_s: float | None
    compile_s: float | None
    compile_cached: bool | None
    compile_cold_s: float | None
    communication_share: Estimate | None
    communication_told: bool | None
    model_flop_utilisation: Estimate | None
    peak_memory_bytes: float | None
    spread: float | None
    groups: int
    problems: list[str]
    ranked: bool

    @property
    def workers(self) -> str:
        """The workers in words: ``2 CPU workers``, ``4 GPU workers on 2 hosts``."""
        some = f"{self.world_size} {self.device.upper()} worker{'s' * (self.world_size > 1)}"
        return f"{some} on {self.places}" if self.places else some

    @property
    def places(self) -> str:
        """On how many hosts they were: ``2 hosts``, ``1 or 2 hosts``; nothing if on one."""
        several = max(self.hosts, default=1) > 1
        return f"{' or '.join(map(str, self.hosts))} hosts" if several else ""

    @property
    def own(self) -> str:
        """Who trains, as among those it may be compared with: ``torch eager``."""
        return f"{self.framework} {self.execution} {words(self.apart)}".rstrip()

    @property
    def name(self) -> str:
        """The same with what tells it from any other: ``torch eager learning_rate=0.01``."""
        return f"{self.framework} {self.execution} {self.difference}".rstrip()

    @property
    def difference(self) -> str:
        """What tells it from the study's other cells, as options, but for what titles hold."""
        return " ".join(self.differences)

    @property
    def differences(self) -> list[str]:
        """The same, option by option."""
        return phrases({name: it for name, it in self.varied.items() if name not in IN_TITLES})

    @property
    def conditions(self) -> str:
        """That part of it in which those agree that it may be compared with."""
        out = (*IN_TITLES, *self.apart)
        return words({name: it for name, it in self.varied.items() if name not in out})

    @property
    def label(self) -> str:
        """The cell in a few words: ``torch eager, 2 CPU workers``."""
        return f"{self.name}, {self.workers}{self.rounded}"

    @property
    def rounded(self) -> str:
        """The precision as the end of a phrase, ``, bf16``; nothing for ``fp32``."""
        return "" if self.precision == FP32 else f", {self.precision}"


def cells(study: dict[str, Any]) -> list[Cell]:
    """Gather a study's runs into cells.

    Parameters
    ----------
    study:
        The study as data, as in ``study.json``.

    Returns
    -------
    list of Cell
        In order of model, scaling, batch, precision, other conditions, world size, framework and
        execution; what has no order of its own stands in the order of the study's plan.
    """
    runs: list[Run] = study["runs"]
    finished = {_repeat(run) for run in runs}
    lost_once = {_repeat(run): run for run in study.get("failed", [])}
    failed = [run for key, run in lost_once.items() if key not in finished]
    gathered: dict[str, tuple[list[Run], list[Run]]] = {}
    for run in sorted(runs, key=lambda run: run.get("position") or 0):
        gathered.setdefault(run["cell"], ([], []))[0].append(run)
    for run in failed:
        gathered.setdefault(run["cell"], ([], []))[1].append(run)
    found = [
        _cell(sorted(done, key=lambda run: run["repeat"]), lost) for done, lost in gathered.values()
    ]
    ranked = [run for cell in found if cell.ranked for run in cell.counted]
    related = [_related(cell, ranked, study.get("baselines", [])) for cell in found]
    limits = {where: limit.flops_per_s for where, limit in ceilings(runs).items()}
    related = [_utilising(cell, limits) for cell in related]
    return _in_order(_told_apart(related))


def mean_epochs(runs: Sequence[Run]) -> Sample:
    """The mean seconds of an epoch's window in each run."""
    return _sample(runs, mean_epoch)


def _told_apart(found: list[Cell]) -> list[Cell]:
    """The cells with the options in which they differ."""
    held = (*HELD, "device")
    varied = distinguishing([cell.options for cell in found], held)
    among: dict[str | None, list[Cell]] = {}
    for cell in found:
        among.setdefault(cell.comparison_key, []).append(cell)
    apart = {
        cell.cell: own
        for key, alike in among.items()
        for cell, own in zip(alike, distinguishing([c.options for c in alike], held), strict=True)
        if key is not None
    }
    return [
        replace(cell, varied=told, apart=apart.get(cell.cell, {}))
        for cell, told in zip(found, varied, strict=True)
    ]


def _related(cell: Cell, ranked: list[Run], stored: list[Run]) -> Cell:
    """The cell with its speed-up over the study's ranked cells, or over runs of the store."""
    speedup, baseline = over_one_worker(cell.counted, ranked, stored)
    efficiency = speedup and speedup.scaled(1 / cell.world_size)
    return replace(cell, speedup=speedup, efficiency=efficiency, baseline=baseline)


def _utilising(cell: Cell, limits: Mapping[Place, float]) -> Cell:
    """The cell with its utilisation of what the study's machine can do."""
    if cell.throughput is None:
        return cell
    first = cell.counted[0]
    flops, limit = first.get("training_flops_per_sample"), limits.get(place(first))
    share = cell.throughput.scaled(flops / limit) if flops and limit else None
    return replace(cell, model_flop_utilisation=share)


def _cell(runs: list[Run], failed: list[Run]) -> Cell:
    """A cell from its finished runs and its failures, not yet related to any other."""
    first = (runs or failed)[0]
    counted = [run for run in runs if counts(run)]
    fresh = [run for run in counted if run.get("group_run", 0) == 0]
    first_time = fresh or [run for run in counted if run is runs[0]]
    accuracies = [last for run in counted if (last := run["test_accuracy"][-1]) is not None]
    speeds = _values(counted, SPEED)
    throughput = _mean(counted, SPEED)
    groups = {run.get("group") for run in counted}
    share = exchange.share(counted)
    return Cell(
        cell=first["cell"],
        framework=first["framework"],
        framework_version=first.get("framework_version"),
        execution=first["execution"],
        precision=precision(first),
        model=first["model"],
        data=first.get("data"),
        device=first["device"],
        device_name=first.get("device_name"),
        world_size=first["world_size"],
        scaling=first["scaling"],
        batch_size=first["batch_size"],
        global_batch_size=first.get("global_batch_size"),
        threads_per_worker=first.get("threads_per_worker"),
        epochs=first.get("epochs"),
        seed=first.get("seed"),
        comparison_key=first.get("comparison_key"),
        hosts=tuple(sorted({hosts(run) for run in counted or runs})),
        options=options(first),
        varied={},
        apart={},
        runs=runs,
        failed=len(failed),
        diverged=[end(run) for run in failed].count("diverged"),
        counted=counted,
        throughput=throughput,
        epoch_time_s=_estimate(mean_epochs(counted)),
        training_time_s=_estimate(_sample(counted, lambda run: sum(run["epoch_time_s"]))),
        speedup=None,
        efficiency=None,
        baseline=None,
        accuracy_mean=statistics.fmean(accuracies) if accuracies else None,
        accuracy_sd=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        time_to_accuracy_s=_time_to_accuracy(counted),
        reached=len(_values(counted, "time_to_accuracy_s")),
        resolution_s=_resolution(counted),
        startup_s=_middle(_values(fresh, "startup_s")),
        job_s=_middle(_values(fresh, "wall_s")),
        compile_s=_middle(_values(first_time, "compile_s")),
        compile_cached=compiling.cached(first_time),
        compile_cold_s=compiling.cold(first_time),
        communication_share=share,
        communication_told=None if share is None else exchange.told(share, counted),
        model_flop_utilisation=None,
        peak_memory_bytes=max(_values(counted, "peak_memory_bytes"), default=None),
        spread=(max(speeds) - min(speeds)) / throughput.value if throughput else None,
        groups=0 if None in groups else len(groups),
        problems=problems(runs, failed),
        ranked=2 * len(counted) > len(runs) + len(failed),
    )


def _in_order(found: list[Cell]) -> list[Cell]:
    """The cells as tables show them; those that may be compared stand together."""

    def first(name: str) -> Callable[[Any], int]:
        return list(dict.fromkeys(getattr(cell, name) for cell in found)).index

    models, scalings, devices = first("model"), first("scaling"), first("device")
    precisions = first("precision")
    keys, frameworks, executions = first("comparison_key"), first("framework"), first("execution")

    def alike(cell: Cell) -> tuple[int, ...]:
        work = models(cell.model), scalings(cell.scaling), cell.batch_size
        return *work, precisions(cell.precision), devices(cell.device)

    # A cell without a finished run has no key; it stands with those that look like it.
    known = {
        alike(cell): keys(cell.comparison_key)
        for cell in reversed(found)
        if cell.comparison_key is not None
    }

    def position(cell: Cell) -> tuple[int, ...]:
        unknown = cell.comparison_key is None
        key = known.get(alike(cell), 0) if unknown else keys(cell.comparison_key)
        place = frameworks(cell.framework), executions(cell.execution)
        return *alike(cell), key, cell.world_size, *place

    return sorted(found, key=position)


def _repeat(run: Run) -> tuple[str, int]:
    return run["cell"], run["repeat"]


def _values(runs: Sequence[Run], name: str) -> list[float]:
    return [run[name] for run in runs if run.get(name) is not None]


def _mean(runs: Sequence[Run], name: str) -> Estimate | None:
    """The geometric mean of a figure over the runs that have it."""
    return _estimate(sample(runs, name))


def _estimate(found: Sample) -> Estimate | None:
    return mean(found).typical if found else None


def _sample(runs: Sequence[Run], figure: Callable[[Run], float]) -> Sample:
    return {run["repeat"]: Measured(figure(run), run.get("group")) for run in runs}


def _time_to_accuracy(runs: Sequence[Run]) -> Estimate | None:
    """A run that never got there is slower than all that did (as MLPerf ranks it)."""
    if all(run.get("time_to_accuracy_s") is not None for run in runs):
        return _mean(runs, "time_to_accuracy_s")
    times = [math.inf if (t := run.get("time_to_accuracy_s")) is None else t for run in runs]
    middle = statistics.median(times)
    return Estimate(middle, None, None, len(times)) if math.isfinite(middle) else None


def _resolution(runs: Sequence[Run]) -> float | None:
    """How finely times to the target are known, at worst, where there were evaluations inside."""
    found = _values(runs, "time_to_accuracy_resolution_s")
    return max(found, default=None) if any(run.get("evaluations") for run in runs) else None


def _middle(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None

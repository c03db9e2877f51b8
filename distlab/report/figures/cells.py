"""A study's cells: its runs gathered, and the figures that are told of them.

Everything that a report tells is found here and in the modules beside it, from the study as data
and nothing else; what draws or writes a report computes no figure of its own.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from distlab.experiment.names import HELD, distinguishing
from distlab.measure.blocks import Measured, Sample, mean
from distlab.measure.statistics import Estimate
from distlab.outcome.caveats import counts
from distlab.report.figures.baselines import over_one_worker
from distlab.report.figures.ceiling import Place, ceilings, place
from distlab.report.figures.cell import Cell
from distlab.report.figures.overheads import compiling, exchange
from distlab.report.figures.runs import (
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

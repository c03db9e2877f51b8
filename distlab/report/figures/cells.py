"""A study's cells: the repeats of one experiment, and the figures that are told of them.

Everything that a report tells is found here and in the modules beside it, from the study as data
and nothing else; what draws or writes a report computes no figure of its own.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distlab.measure.statistics import Estimate, median
from distlab.report.figures.runs import (
    FP32,
    Run,
    counts,
    over_one_worker,
    precision,
    problems,
    throughputs,
)


@dataclass(frozen=True)
class Cell:
    """One experiment of a study with all its repeats.

    What stands as None under the conditions is unknown, because every repeat failed before it was
    known. Figures are from the counted runs alone, and None without any.

    Attributes
    ----------
    cell:
        Hash of the experiment; equal for its repeats.
    framework, framework_version, execution, precision, model, data, device, device_name,
    world_size, scaling, batch_size, global_batch_size, threads_per_worker, epochs, seed,
    comparison_key:
        The conditions, as in a run's summary; runs recorded without a precision are ``fp32``.
    runs:
        Summaries of all finished runs, in order of repeat.
    failed:
        Number of repeats that failed and were not made up for.
    counted:
        Those of ``runs`` that are verified and whose machine was quiet enough.
    throughput:
        Samples/s of the whole job: the median of the runs.
    epoch_time_s:
        Seconds of an epoch's window: the median over runs of each run's mean.
    training_time_s:
        Seconds of all epochs' windows of a run: the median over runs.
    speedup, efficiency:
        Geometric mean of the throughput over that of the cell with one worker, and the same over
        the number of workers. 1 without an interval, by definition, with one worker.
    baseline:
        What the speed-up is measured against: ``this study``, or ``run <id>`` from the store.
    accuracy_mean, accuracy_sd:
        Test accuracy after the last epoch: mean, and sample standard deviation (n - 1).
    time_to_accuracy_s:
        Training seconds to the target accuracy: the median of the runs that reached it.
    reached:
        How many of the counted runs reached the target accuracy.
    startup_s, compile_s:
        Seconds; medians of the runs in freshly started processes. Without one, compile time is that
        of the cell's first run, which compiled in processes that were kept from other cells.
    communication_share, model_flop_utilisation:
        Medians of the runs.
    peak_memory_bytes:
        The greatest of the runs: the host's memory of a worker, also where it has a GPU.
    spread:
        Greatest less smallest throughput, over the median.
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
    runs: list[Run]
    failed: int
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
    startup_s: float | None
    compile_s: float | None
    communication_share: Estimate | None
    model_flop_utilisation: Estimate | None
    peak_memory_bytes: float | None
    spread: float | None
    problems: list[str]
    ranked: bool

    @property
    def workers(self) -> str:
        """The workers in words: ``2 CPU workers``."""
        return f"{self.world_size} {self.device.upper()} worker{'s' * (self.world_size > 1)}"

    @property
    def label(self) -> str:
        """The cell in a few words: ``torch eager, 2 CPU workers``."""
        return f"{self.framework} {self.execution}, {self.workers}{self.rounded}"

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
        execution; what has no order of its own stands in the order in which the study first met it.
    """
    runs: list[Run] = study["runs"]
    finished = {_repeat(run) for run in runs}
    lost_once = {_repeat(run): run for run in study.get("failed", [])}
    failed = [run for key, run in lost_once.items() if key not in finished]
    gathered: dict[str, tuple[list[Run], list[Run]]] = {}
    for run in runs:
        gathered.setdefault(run["cell"], ([], []))[0].append(run)
    for run in failed:
        gathered.setdefault(run["cell"], ([], []))[1].append(run)
    found = [
        _cell(sorted(done, key=lambda run: run["repeat"]), lost, runs, study.get("baselines", []))
        for done, lost in gathered.values()
    ]
    return _in_order(found)


def _cell(runs: list[Run], failed: list[Run], others: list[Run], stored: list[Run]) -> Cell:
    """A cell from its finished runs, its failures, the study's runs and baselines of the store."""
    first = (runs or failed)[0]
    counted = [run for run in runs if counts(run)]
    fresh = [run for run in counted if run.get("group_run", 0) == 0]
    accuracies = [run["test_accuracy"][-1] for run in counted]
    reached = _values(counted, "time_to_accuracy_s")
    speeds = throughputs(counted)
    throughput = _median(speeds)
    speedup, baseline = over_one_worker(counted, others, stored)
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
        runs=runs,
        failed=len(failed),
        counted=counted,
        throughput=throughput,
        epoch_time_s=_median([statistics.fmean(run["epoch_time_s"]) for run in counted]),
        training_time_s=_median([sum(run["epoch_time_s"]) for run in counted]),
        speedup=speedup,
        efficiency=speedup and speedup.scaled(1 / first["world_size"]),
        baseline=baseline,
        accuracy_mean=statistics.fmean(accuracies) if accuracies else None,
        accuracy_sd=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        time_to_accuracy_s=_median(reached),
        reached=len(reached),
        startup_s=_middle(_values(fresh, "startup_s")),
        compile_s=_middle(
            _values(fresh or [run for run in counted if run is runs[0]], "compile_s")
        ),
        communication_share=_median(_values(counted, "communication_share")),
        model_flop_utilisation=_median(_values(counted, "model_flop_utilisation")),
        peak_memory_bytes=max(_values(counted, "peak_memory_bytes"), default=None),
        spread=(max(speeds) - min(speeds)) / throughput.value if throughput else None,
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


def _median(values: Sequence[float]) -> Estimate | None:
    return median(values) if values else None


def _middle(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None

"""A cell of a study: one experiment with all its repeats, and the figures that are told of them."""

from dataclasses import dataclass

from distlab.experiment.names import phrases, words
from distlab.measure.statistics import Estimate
from distlab.report.figures.runs import FP32, Run

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

"""What is told of a run before it trains: what runs and where, and what speaks against it."""

from distlab.console import counted
from distlab.data.dataset import Dataset
from distlab.experiment import sizes
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import ClusterMode, Device, Precision
from distlab.experiment.training import stopping
from distlab.machine import cores
from distlab.outcome.caveats import Caveat, oversubscribed
from distlab.outcome.record import Record


def where(record: Record) -> str:
    """On which of Ray's hosts the ranks are."""
    now, asked = record.stretches[-1], record.experiment.options.placement
    return f"{now.told()} (placement={asked}: {len(now.places())} of Ray's {record.nodes} hosts)"


def announcement(experiment: Experiment, dataset: Dataset) -> str:
    """One line on what is going to run and where."""
    options = experiment.options
    where = "CPU" if experiment.device == "cpu" else "GPU"
    rounded = "" if options.precision is Precision.fp32 else f", {options.precision}"
    line = (
        f"{options.framework.name} ({experiment.execution}{rounded}) trains {options.model.name} "
        f"on {dataset.name}, {stopping.told(options)}, on "
        f"{_workers(experiment, where)}, "
        f"global batch {experiment.global_batch}"
    )
    asked = options.device is Device.auto and options.gpus is None
    if asked:
        line += f" (gpus not given: {'all GPUs' if where == 'GPU' else 'no GPU found'})"
    caveat = foreseen(experiment)
    return f"{line}; {caveat}: no fair timing, and not ranked" if caveat else line


def _workers(experiment: Experiment, where: str) -> str:
    """How many workers there are, or may be."""
    if not experiment.sizes:
        return counted(experiment.world_size, f"{where} worker")
    first, last = sizes.bounds(experiment.options.gpus) or (0, 0)
    out = [str(size) for size in range(first, last + 1) if size not in experiment.sizes]
    verb = "does" if len(out) == 1 else "do"
    why = f" ({' and '.join(out)} {verb} not divide the batch)" if out else ""
    return f"{' or '.join(map(str, experiment.sizes))} {where} workers{why}"


def foreseen(experiment: Experiment) -> Caveat | None:
    """What speaks against a run before it starts: more threads than this machine's cores.

    On a Ray that runs already, only ranks can tell which hosts they are on.
    """
    options = experiment.options
    if options.cluster.mode is not ClusterMode.local:
        return None
    threads = experiment.world_size * options.threads_per_worker
    return oversubscribed(threads, cores.usable().usable, "this machine")

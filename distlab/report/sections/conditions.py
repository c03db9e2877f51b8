"""The conditions of a study in full: the command, the machine, the software, the work, the cost."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from distlab.console import counted
from distlab.experiment.training import optimizer, rates, stopping
from distlab.outcome.caveats import counts
from distlab.report.figures.ceiling import ceilings
from distlab.report.figures.cell import Cell
from distlab.report.figures.runs import FP32, Run, options, precision

UNKNOWN = "not known"
MOST_VALUES = 6
"""Of a condition that are told one by one."""
Conditions = dict[str, list[tuple[str, str]]]


def conditions(study: dict[str, Any], cells: Sequence[Cell]) -> Conditions:
    """Headings, each with names and values in words.

    Parameters
    ----------
    study:
        The study as data.
    cells:
        Its cells; where a condition differs between runs, all its values are named.
    """
    return {
        "Study": _study(study),
        "Machine": _machine(study),
        "Software": _software(study),
        "Work": _work(study, cells),
    }


def scope(study: dict[str, Any], cells: Sequence[Cell]) -> str:
    """What the study's answer is about, and what it says nothing of, in two sentences."""
    runs = study["runs"]
    if not runs:
        return ""
    gpu = any(run["device"] == "gpu" for run in runs)
    threads = _all(run.get("threads_per_worker") for run in runs)
    each = "" if gpu else f", {threads} thread{'s' * (threads != '1')} a worker"
    batches = _all(
        f"{cell.batch_size} {'a worker' if cell.scaling == 'weak' else 'in all'}" for cell in cells
    )
    epochs = _all(_epochs(run) for run in runs)
    sizes = {tuple(run["input_shape"][1:]) for run in runs if run.get("input_shape")}
    pixels = "".join(f" ({h} x {w} pixels)" for h, w in sizes) if len(sizes) == 1 else ""
    models, data = (_all(run.get(name) for run in runs) for name in ("model", "data"))
    machines = _all(run.get("device_name") for run in runs)
    return (
        f"For {models} on {data}{pixels}, batch {batches}, {epochs} epoch{'s' * (epochs != '1')}, "
        f"on {machines}{each}. It says nothing of {'' if gpu else 'GPUs, '}other models, larger "
        "images or other machines."
    )


def citation(study: dict[str, Any]) -> str:
    """The study as a BibTeX entry."""
    started, version = str(study.get("started") or ""), study.get("distlab_version") or UNKNOWN
    commit = str(study.get("git_commit") or "")
    code = f", commit {commit[:12]}" if commit else ""
    title = "".join(c for c in str(study.get("name") or "study") if c not in "{}\\%#$&_^~")
    return (
        f"@misc{{distlab-{str(study['study'])[:8]},\n"
        f"  title = {{{title}}},\n"
        f"  year = {{{started[:4]}}},\n"
        f"  note = {{{len(study['runs'])} runs by distlab {version}{code}, "
        f"study {study['study']}, {started[:10]}}}\n"
        "}"
    )


def requirements(study: dict[str, Any]) -> str:
    """All installed packages with their versions, as pip reads them; empty where unknown."""
    found = (study.get("environment") or {}).get("packages") or {}
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found))


def took(study: dict[str, Any]) -> str:
    """What the study took, and how much of that was training, in a sentence."""
    training = sum(sum(run.get("epoch_time_s") or []) for run in study["runs"])
    wall = study.get("wall_s")
    done = f"{len(study['runs'])} runs"
    if not wall:
        return f"{done} trained for {duration(training)}; the study's wall time is {UNKNOWN}"
    return (
        f"{done} in {duration(wall)}, of which {duration(training)} ({training / wall:.0%}) was "
        "training inside timed windows"
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``47 min 12 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _study(study: dict[str, Any]) -> list[tuple[str, str]]:
    runs, failed = study["runs"], study.get("failed", [])
    return [
        ("id", str(study.get("study") or UNKNOWN)),
        ("command", str(study.get("command") or UNKNOWN)),
        ("started", str(study.get("started") or UNKNOWN)),
        ("finished", str(study.get("finished") or "not finished")),
        ("took", took(study)),
        ("runs", f"{len(runs)} finished, {len(failed)} failed"),
        ("records", _records(study)),
        ("distlab", str(study.get("distlab_version") or UNKNOWN)),
        ("git commit", _commit(study)),
    ]


def _records(study: dict[str, Any]) -> str:
    """Where MLflow has the runs: an address, but no path of a machine that a reader has not."""
    uri = str(study.get("tracking_uri") or "")
    if not uri.startswith(("http://", "https://")):
        uri = "MLflow on the machine that ran it"
    return f"{uri}; the id above is the study's run there, and runs.csv has each run's"


def _commit(study: dict[str, Any]) -> str:
    """The commit, with its address where the checkout's origin has one."""
    commit = str(study.get("git_commit") or "")
    if not commit:
        return f"{UNKNOWN}: not run from a checkout"
    origin = (study.get("environment") or {}).get("repository")
    return f"{origin}/commit/{commit.removesuffix('-dirty')}" if origin else commit


def _machine(study: dict[str, Any]) -> list[tuple[str, str]]:
    environment, runs = study.get("environment") or {}, study["runs"]
    gpus = [run for run in runs if run["device"] == "gpu"]
    devices = _gpus(gpus) if gpus else []
    model, memory = environment.get("processor_model"), environment.get("memory_bytes")
    return [
        *devices,
        ("processor", f"{environment.get('processor') or UNKNOWN}{f' ({model})' if model else ''}"),
        ("CPUs", str(environment.get("cpus") or UNKNOWN)),
        ("memory", f"{memory / 1e9:.1f} GB" if memory else UNKNOWN),
        ("virtual machine", _yes(environment.get("virtual_machine"), "yes", "no")),
        ("clock rate", _clock_rate(runs)),
        ("threads a worker", _all(run.get("threads_per_worker") for run in runs)),
        ("matrix product", _products(runs)),
        ("energy", _energy(runs)),
        ("system", str(environment.get("platform") or UNKNOWN)),
    ]


def _gpus(runs: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the GPUs are called, their driver, and whether all frameworks had the same ones."""
    told = [gpu for run in runs for gpu in run.get("gpus") or []]
    rows = [("GPU", _all(run.get("device_name") for run in runs))]
    if libraries := _libraries(runs):
        rows.append(("NVIDIA libraries", libraries))
    if not told:
        return [*rows, ("which GPUs", "not told: nvidia-ml-py is not installed")]
    by_framework: dict[str, set[str]] = {}
    for run in runs:
        found = by_framework.setdefault(run["framework"], set())
        found |= {str(gpu.get("uuid")) for gpu in run.get("gpus") or []}
    every = set().union(*by_framework.values())
    which = ", ".join(sorted(every))
    if any(found != every for found in by_framework.values()):
        each = (f"{name} {', '.join(sorted(by_framework[name]))}" for name in by_framework)
        which = f"not the same for all: {'; '.join(each)}"
    return [*rows, ("which GPUs", which), ("NVIDIA driver", _all(gpu["driver"] for gpu in told))]


def _libraries(runs: Sequence[dict[str, Any]]) -> str:
    """Which NVIDIA libraries each framework had loaded, after its warm-up."""
    found: dict[str, set[str]] = {}
    for run in runs:
        versions = (run.get("resources") or {}).get("nvidia_libraries") or {}
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        found.setdefault(run["framework"], set()).update({told} if told else ())
    return "; ".join(f"{name}: {' or '.join(sorted(told))}" for name, told in found.items() if told)


def _energy(runs: Sequence[dict[str, Any]]) -> str:
    """Joule for each sample, the median of a cell's runs that count, and whose counter told it."""
    cells: dict[str, list[float]] = {}
    for run in runs:
        if (joule := run.get("energy_j_per_sample")) is not None and counts(run):
            workers = counted(run["world_size"], "worker")
            told = "" if precision(run) == FP32 else f" {precision(run)}"
            name = f"{run['framework']} {run['execution']} {run['model']}{told}, {workers}"
            cells.setdefault(f"{name} ({run['energy_meter']})", []).append(joule)
    said = [f"{1e3 * median(found):.3g} mJ a sample: {name}" for name, found in cells.items()]
    return "; ".join(said) or "not measured"


def _yes(value: Any, yes: str, no: str) -> str:
    return UNKNOWN if value is None else yes if value else no


def _clock_rate(runs: Sequence[dict[str, Any]]) -> str:
    """How Linux chooses it, and whether it may rise above the nominal one."""
    cores = [(run.get("resources") or {}).get("cores") or {} for run in runs]
    governors = _all(one.get("governor") for one in cores)
    turbo = _all(_yes(one.get("turbo"), "on", "off") for one in cores)
    return f"governor {governors}, turbo {turbo}"


def _products(runs: Sequence[dict[str, Any]]) -> str:
    """The denominators of the model FLOP utilisation, each with the range that runs measured."""
    said = [
        f"{limit.flops_per_s / 1e9:,.0f} GFLOP/s in {'float32' if rounded == FP32 else rounded} "
        f"with {counted(workers, 'worker')} of {counted(threads or 1, 'thread')} "
        f"(runs measured {limit.low / 1e9:,.0f} to {limit.high / 1e9:,.0f})"
        for (_, rounded, workers, threads), limit in ceilings(runs).items()
    ]
    return "; ".join(said) or "not measured"


def _software(study: dict[str, Any]) -> list[tuple[str, str]]:
    environment = study.get("environment") or {}
    installed = environment.get("packages") or {}
    versions: dict[str, list[str]] = {}
    for run in study["runs"]:
        versions.setdefault(run["framework"], []).append(run.get("framework_version") or UNKNOWN)
    locks = {(run.get("resources") or {}).get("packages_sha256") for run in study["runs"]} - {None}
    several = len(locks) > 1
    return [
        *((name, _all(found)) for name, found in versions.items()),
        *((name, installed[name]) for name in ("ray", "mlflow", "numpy") if name in installed),
        *([("all packages", _lock(study))] if installed else []),
        *([("workers' packages", f"packages.txt of each run, {len(locks)} different")] * several),
        ("Python", str(environment.get("python") or UNKNOWN)),
    ]


def _lock(study: dict[str, Any]) -> str:
    digest = hashlib.sha256(requirements(study).encode()).hexdigest()
    return f"requirements.txt, saved from this report (SHA-256 {digest[:12]})"


def _work(study: dict[str, Any], cells: Sequence[Cell]) -> list[tuple[str, str]]:
    runs = study["runs"]
    models = _all(f"{run['model']} ({run['parameters']:,} parameters)" for run in runs)
    batches = _all(
        f"{cell.batch_size} {'a worker' if cell.scaling == 'weak' else 'in all'} "
        f"({cell.scaling} scaling)"
        for cell in cells
    )
    seeds = sorted({run["run_seed"] for run in runs if run.get("run_seed") is not None})
    digests = ((run.get("data") or UNKNOWN, run.get("data_sha256")) for run in runs)
    data = _all(f"{name} (SHA-256 {sha[:12]})" if sha else name for name, sha in digests)
    shapes = (run.get("input_shape") for run in runs)
    images = _all(f"{h} x {w} pixels, {counted(c, 'channel')}" for c, h, w in filter(None, shapes))
    samples = (run["steps_per_epoch"] * run["global_batch_size"] for run in runs)
    return [
        ("models", models),
        ("data", data),
        ("images", images),
        ("an epoch", f"{_all(f'{count:,}' for count in samples)} samples"),
        ("epochs", _all(_epochs(run) for run in runs)),
        ("batch", batches),
        ("precision", _all(precision(run) for run in runs)),
        ("optimizer", _all(_optimizer(run) for run in runs)),
        ("seeds", _numbers(seeds) + " (initial weights and order of samples)"),
        ("repeats", _all(len(cell.runs) + cell.failed for cell in cells) + " a cell, interleaved"),
    ]


def _optimizer(run: dict[str, Any]) -> str:
    own = {"optimizer.variant": run.get("optimizer") or UNKNOWN, **(run.get("options") or {})}
    return f"{optimizer.told(own)}, {rates.told(own, run.get('learning_rate') or UNKNOWN)}"


def _all(values: Iterable[Any]) -> str:
    """Every different value, in order of appearance; of many the ends and their number."""
    found = list(dict.fromkeys(str(value) for value in values if value is not None))
    if len(found) > MOST_VALUES:
        return f"{found[0]} to {found[-1]} ({len(found)} values)"
    return ", ".join(found) or UNKNOWN


def _numbers(values: Sequence[int]) -> str:
    """``0 to 4`` for an unbroken row of integers, else each of them."""
    if not values:
        return UNKNOWN
    if len(values) > 2 and all(b - a == 1 for a, b in pairwise(values)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def _epochs(run: Run) -> str | None:
    """How many epochs a run was to have, and what was to end it before."""
    asked = run.get("epochs")
    told = {
        name: value
        for name, value in options(run).items()
        if name.startswith("stop.") and value not in ("None", "False")
    }
    if asked is None or not told:
        return None if asked is None else str(asked)
    at_target = run.get("target_accuracy") if "stop.at_target" in told else None
    ends = told.get("stop.seconds"), told.get("stop.steps")
    return stopping.bounded(str(asked), at_target, *ends)

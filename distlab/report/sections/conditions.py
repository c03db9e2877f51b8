"""The conditions of a study in full: the command, the machine, the software, the work, the cost."""

from collections.abc import Iterable, Sequence
from typing import Any

from distlab.report.figures.cells import Cell
from distlab.report.figures.runs import precision

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
    epochs = _all(run.get("epochs") for run in runs)
    work = f"{_all(run['model'] for run in runs)} on {_all(run.get('data') for run in runs)}"
    machines = _all(run.get("device_name") for run in runs)
    return (
        f"For {work}, batch {batches}, {epochs} epoch{'s' * (epochs != '1')}, on "
        f"{machines}{each}. It says nothing of {'' if gpu else 'GPUs, '}other models, larger "
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


def packages(study: dict[str, Any]) -> list[tuple[str, str]]:
    """All installed packages with their versions, by name."""
    found = (study.get("environment") or {}).get("packages") or {}
    return sorted((str(name), str(version)) for name, version in found.items())


def cost(study: dict[str, Any]) -> str:
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
        ("cost", cost(study)),
        ("runs", f"{len(runs)} finished, {len(failed)} failed"),
        ("records", str(study.get("tracking_uri") or UNKNOWN)),
        ("distlab", str(study.get("distlab_version") or UNKNOWN)),
        ("git commit", str(study.get("git_commit") or f"{UNKNOWN}: not run from a checkout")),
    ]


def _machine(study: dict[str, Any]) -> list[tuple[str, str]]:
    environment, runs = study.get("environment") or {}, study["runs"]
    devices = _all(f"{run['device'].upper()}: {run.get('device_name') or UNKNOWN}" for run in runs)
    found = (run.get("matrix_product_flops_per_s") for run in runs)
    rates = [rate for rate in found if rate is not None]
    libraries = sorted({str(run.get("matrix_product_library") or "") for run in runs} - {""})
    measured = (
        f"{min(rates) / 1e9:,.0f} to {max(rates) / 1e9:,.0f} GFLOP/s over all of a run's workers"
        f"{', by ' + ', '.join(libraries) if libraries else ''}"
        if rates
        else "not measured"
    )
    return [
        ("devices", devices),
        ("processor", str(environment.get("processor") or UNKNOWN)),
        ("CPUs", str(environment.get("cpus") or UNKNOWN)),
        ("threads a worker", _all(run.get("threads_per_worker") for run in runs)),
        ("float32 matrix product", measured),
        ("system", str(environment.get("platform") or UNKNOWN)),
    ]


def _software(study: dict[str, Any]) -> list[tuple[str, str]]:
    environment = study.get("environment") or {}
    installed = environment.get("packages") or {}
    versions: dict[str, list[str]] = {}
    for run in study["runs"]:
        versions.setdefault(run["framework"], []).append(run.get("framework_version") or UNKNOWN)
    return [
        *((name, _all(found)) for name, found in versions.items()),
        *((name, installed[name]) for name in ("ray", "mlflow", "numpy") if name in installed),
        ("Python", str(environment.get("python") or UNKNOWN)),
    ]


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
    return [
        ("models", models),
        ("data", data),
        ("epochs", _all(run.get("epochs") for run in runs)),
        ("batch", batches),
        ("precision", _all(precision(run) for run in runs)),
        ("optimizer", _all(_optimizer(run) for run in runs)),
        ("seeds", _numbers(seeds) + " (initial weights and order of samples)"),
        ("repeats", _all(len(cell.runs) + cell.failed for cell in cells) + " a cell, interleaved"),
    ]


def _optimizer(run: dict[str, Any]) -> str:
    rate = run.get("learning_rate")
    return f"Adam ({run.get('optimizer') or UNKNOWN}), learning rate {rate or UNKNOWN}"


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
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))

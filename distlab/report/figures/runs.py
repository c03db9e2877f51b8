"""The runs of a study: which count, why others don't, and how those of two cells compare."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from distlab.measure.blocks import Effect, Measured, Sample, paired, unpaired
from distlab.measure.efficiency import FP32
from distlab.measure.statistics import FEWEST
from distlab.outcome import caveats

Run = dict[str, Any]
SPEED = "throughput_samples_per_s"

TOLD_BY = {
    "framework.name": "framework",
    "execution": "execution",
    "precision": "precision",
    "model.name": "model",
    "data": "data",
    "device": "device",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "scaling": "scaling",
    "learning_rate": "learning_rate",
    "optimizer.variant": "optimizer",
    "seed": "seed",
    "threads_per_worker": "threads_per_worker",
    "pin": "pin",
    "engine": "engine",
    "placement": "placement",
    "target_accuracy": "target_accuracy",
}
"""Options by the fields of a summary that tell them."""


def failed_checks(run: Run) -> dict[str, str]:
    """The checks that a run failed, each with what was found."""
    checks = run["checks"].items()
    return {name: check["detail"] for name, check in checks if not check["passed"]}


def end(run: Run) -> str:
    """How a run ended that left no figures: it ``diverged``, or it ``failed`` otherwise."""
    return "diverged" if str(run["error"]).startswith("diverged at") else "failed"


def reasons(runs: Sequence[Run], failed: int, diverged: int, found: bool = False) -> str:
    """Why runs don't count, and how many, in a few words; nothing where all do.

    Parameters
    ----------
    runs:
        Finished runs; of a run that is unverified, that alone is said.
    failed, diverged:
        How many more failed, and how many of those because their training diverged.
    found:
        Whether to say what was found, too, where that is the same of all.
    """
    unverified = [run for run in runs if not run["verified"]]
    checks = dict.fromkeys(name for run in unverified for name in failed_checks(run))
    said = [f"{len(unverified)} unverified: {' '.join(checks)}"] * bool(unverified)
    doubts = [caveats.doubts(run) for run in runs if run["verified"]]
    for code in caveats.codes([caveat for of_run in doubts for caveat in of_run]):
        own = [[c.detail for c in of_run if c.code is code] for of_run in doubts]
        details = {"; ".join(of_run) for of_run in own if of_run}
        what = f" ({details.pop()})" if found and len(details) == 1 else ""
        said.append(f"{sum(map(bool, own))} {code.words}{what}")
    said += [f"{diverged} diverged"] * bool(diverged)
    said += [f"{failed - diverged} failed"] * (failed > diverged)
    return ", ".join(said)


def precision(run: Run) -> str:
    """How its products were rounded; runs recorded before there was a choice are ``fp32``."""
    return run.get("precision") or FP32


def hosts(run: Run) -> int:
    """The most hosts that it was on at once; 1 for runs recorded before that was told."""
    return max((len(one.get("hosts") or [""]) for one in run.get("stretches") or []), default=1)


def options(run: Run) -> dict[str, str]:
    """The options that make up its cell, as text; of runs recorded without them, those known."""
    if run.get("options") is not None:
        return dict(run["options"])
    return {name: str(run[key]) for name, key in TOLD_BY.items() if run.get(key) is not None}


def epochs_taken(run: Run) -> float:
    """How many epochs it trained, the last by its part of the steps, if the run ended inside it."""
    if run.get("stopped") is None or not run.get("steps") or not run.get("steps_per_epoch"):
        return float(len(run["epoch_time_s"]))
    return float(run["steps"] / run["steps_per_epoch"])


def mean_epoch(run: Run) -> float:
    """Mean seconds of a whole epoch, of a run that may have ended inside one."""
    return math.fsum(run["epoch_time_s"]) / epochs_taken(run)


def epoch_times(run: Run) -> list[float]:
    """Seconds of each epoch; of one in which the run ended, what all of it would have taken."""
    seconds, steps = list(run.get("epoch_time_s") or []), run.get("steps_per_epoch")
    if run.get("stopped") is not None and steps and run.get("steps"):
        last = run["steps"] - steps * (len(seconds) - 1)
        if 0 < last < steps:
            seconds[-1] *= steps / last
    return seconds


def course(run: Run) -> tuple[list[float], list[float | None]]:
    """Seconds of training until each evaluation, and the test accuracy that it found."""
    if run.get("evaluations"):
        points = run["evaluations"]
        return [one["seconds"] for one in points], [one["test_accuracy"] for one in points]
    return list(itertools.accumulate(run["epoch_time_s"])), list(run["test_accuracy"])


def ratio(numerator: Sequence[Run], denominator: Sequence[Run]) -> Effect:
    """How many times as fast the runs of one cell train as those of another.

    Runs that share a repeat share a seed and a time, and are paired. Where fewer than three do,
    though there are three of each, all are taken as independent samples.

    Parameters
    ----------
    numerator, denominator:
        Counted runs, at least one of each.
    """
    left, right = sample(numerator), sample(denominator)
    if len(left.keys() & right.keys()) >= min(FEWEST, len(left), len(right)):
        return paired(left, right)
    return unpaired(left, right)


def sample(runs: Sequence[Run], name: str = SPEED) -> Sample:
    """A figure of each run that has it, by repeat, with the run's group of worker processes."""
    return {
        run["repeat"]: Measured(run[name], run.get("group"))
        for run in runs
        if run.get(name) is not None
    }


def problems(runs: list[Run], failed: list[Run]) -> list[str]:
    """Why runs failed or don't count, a sentence for each run."""
    found = []
    for run in runs:
        if not run["verified"]:
            reasons = [f"{name} ({detail})" for name, detail in failed_checks(run).items()]
            found.append(f"repeat {run['repeat']} is unverified: {'; '.join(reasons)}")
        if doubts := caveats.doubts(run):
            found.append(f"repeat {run['repeat']} does not count: {caveats.told(doubts)}")
    for run in sorted(failed, key=lambda run: run["repeat"]):
        lines = str(run["error"]).strip().splitlines()
        found.append(f"repeat {run['repeat']} failed: {lines[0] if lines else 'no reason given'}")
    return found

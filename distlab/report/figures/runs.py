"""The runs of a study: which count, why others don't, and how those of two cells compare."""

from collections.abc import Sequence
from typing import Any

from distlab.measure.efficiency import SAME
from distlab.measure.statistics import FEWEST, Estimate, paired_ratio, unpaired_ratio

Run = dict[str, Any]
FP32 = "fp32"


def counts(run: Run) -> bool:
    """Whether a run's figures may be believed: it is verified and the machine was quiet enough."""
    return bool(run["verified"]) and noise(run) is None


def failed_checks(run: Run) -> dict[str, str]:
    """The checks that a run failed, each with what was found."""
    checks = run["checks"].items()
    return {name: check["detail"] for name, check in checks if not check["passed"]}


def noise(run: Run) -> str | None:
    """Why the machine was too noisy during a run, or None if it was not or isn't known."""
    load = run.get("load") or {}
    return load.get("too_noisy")


def precision(run: Run) -> str:
    """How its products were rounded; runs recorded before there was a choice are ``fp32``."""
    return run.get("precision") or FP32


def ratio(numerator: Sequence[Run], denominator: Sequence[Run]) -> Estimate:
    """How many times as fast the runs of one cell train as those of another.

    Runs that share a repeat share a seed and a time, and are paired. Where fewer than three do,
    though there are three of each, all are taken as independent samples.

    Parameters
    ----------
    numerator, denominator:
        Counted runs, at least one of each.
    """
    left = {run["repeat"]: run for run in numerator}
    right = {run["repeat"]: run for run in denominator}
    both = sorted(left.keys() & right.keys())
    if len(both) >= min(FEWEST, len(left), len(right)):
        return paired_ratio(
            throughputs([left[k] for k in both]), throughputs([right[k] for k in both])
        )
    return unpaired_ratio(throughputs(numerator), throughputs(denominator))


def throughputs(runs: Sequence[Run]) -> list[float]:
    """Samples/s of each run."""
    return [run["throughput_samples_per_s"] for run in runs]


def over_one_worker(
    counted: list[Run], others: list[Run], stored: list[Run]
) -> tuple[Estimate | None, str | None]:
    """The speed-up of a cell over one worker, and where the runs with one worker are from.

    Parameters
    ----------
    counted:
        The cell's counted runs; may be empty.
    others:
        All runs of the study.
    stored:
        Runs with one worker from the store, for studies without any of their own.

    Returns
    -------
    tuple
        The speed-up and ``this study`` or ``run <id>``; None and None without such runs.
    """
    if not counted:
        return None, None
    first = counted[0]
    if first["world_size"] == 1:
        return Estimate(1.0, None, None, len(counted)), "this study"
    for candidates in (others, stored):
        alike = [
            run
            for run in candidates
            if run["world_size"] == 1
            and counts(run)
            and all(run[name] == first[name] for name in SAME)
            and precision(run) == precision(first)
        ]
        if alike and candidates is others:
            return ratio(counted, alike), "this study"
        if alike:
            named = ", ".join(f"run {run['mlflow']['run_id']}" for run in alike)
            return unpaired_ratio(throughputs(counted), throughputs(alike)), named
    return None, None


def problems(runs: list[Run], failed: list[Run]) -> list[str]:
    """Why runs failed or don't count, a sentence for each run."""
    found = []
    for run in runs:
        if not run["verified"]:
            reasons = [f"{name} ({detail})" for name, detail in failed_checks(run).items()]
            found.append(f"repeat {run['repeat']} is unverified: {'; '.join(reasons)}")
        if (why := noise(run)) is not None:
            found.append(f"repeat {run['repeat']} had too noisy a machine: {why}")
    for run in sorted(failed, key=lambda run: run["repeat"]):
        lines = str(run["error"]).strip().splitlines()
        found.append(f"repeat {run['repeat']} failed: {lines[0] if lines else 'no reason given'}")
    return found

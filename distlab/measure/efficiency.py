"""How well a run scales: its speed-up and efficiency against the run with one worker.

With T(n) the throughput of n workers in samples/s, the speed-up is T(n) / T(1) and the scaling
efficiency is T(n) / (n T(1)). Under strong scaling every run consumes the same samples in an
epoch, so that this is also t(1) / (n t(n)) of the epoch times (Amdahl 1967); under weak scaling it
is the efficiency at equal batch for each worker (Gustafson 1988).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SAME = ("comparison_key", "framework", "framework_version", "execution")


@dataclass(frozen=True)
class Scaling:
    """A run's scaling and the run it is measured against.

    Attributes
    ----------
    speedup:
        Throughput over that of the baseline.
    efficiency:
        Speed-up over the number of workers; 1 is ideal.
    baseline_run_id:
        MLflow's id of the run with one worker.
    """

    speedup: float
    efficiency: float
    baseline_run_id: str


def scaling(summary: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Scaling | None:
    """Measure a run against the first run with one worker that differs in nothing else.

    Parameters
    ----------
    summary:
        The summary of the run.
    others:
        Summaries among which the baseline is looked for; the run itself may be one of them.

    Returns
    -------
    Scaling or None
        None if there is no such run, or if either of the two is not verified.
    """
    alike = (
        other
        for other in others
        if other["world_size"] == 1 and all(other[name] == summary[name] for name in SAME)
    )
    baseline = next(alike, None)
    if baseline is None or not (summary["verified"] and baseline["verified"]):
        return None
    speedup = summary["throughput_samples_per_s"] / baseline["throughput_samples_per_s"]
    return Scaling(speedup, speedup / summary["world_size"], baseline["mlflow"]["run_id"])

"""What a run makes of its workers and its machine: speed-up, efficiency, utilisation.

With T(n) the throughput of n workers in samples/s, the speed-up is T(n) / T(1) and the scaling
efficiency is T(n) / (n T(1)). Under strong scaling every run consumes the same samples in an
epoch, so that this is also t(1) / (n t(n)) of the epoch times (Amdahl 1967); under weak scaling it
is the efficiency at equal batch for each worker (Gustafson 1988).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Summary = TypeVar("Summary", bound=Mapping[str, Any])
FP32 = "fp32"
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
    """Measure a run against a verified run with one worker that differs in nothing else.

    The baseline is that of the same repeat: it has the same seed, and stood next to the run in
    time, so that a slow drift of the machine's speed hits both alike. Where there is none of that
    repeat, the first stands in.

    Parameters
    ----------
    summary:
        The summary of the run. Without the key ``repeat`` it counts as repeat 0.
    others:
        Summaries among which the baseline is looked for, of runs whose figures may be believed;
        the run itself may be one of them.

    Returns
    -------
    Scaling or None
        None if there is no such run, or if the run itself is not verified.
    """
    alike = [other for other in baselines(summary, others) if other["verified"]]
    if not alike or not summary["verified"]:
        return None
    repeat = summary.get("repeat", 0)
    baseline = next((other for other in alike if other.get("repeat", 0) == repeat), alike[0])
    speedup = summary["throughput_samples_per_s"] / baseline["throughput_samples_per_s"]
    return Scaling(speedup, speedup / summary["world_size"], baseline["mlflow"]["run_id"])


def baselines(summary: Mapping[str, Any], others: Sequence[Summary]) -> list[Summary]:
    """The runs with one worker that differ from a run in nothing else.

    Their ``series`` says so. Of runs recorded without one, those of the only cell that agrees in
    ``SAME`` are taken; where several cells do, nothing tells which is meant, and there is none.
    """
    series = summary.get("series")
    alike = [
        other
        for other in others
        if other["world_size"] == 1
        and all(other.get(name) == summary.get(name) for name in SAME)
        and (other.get("precision") or FP32) == (summary.get("precision") or FP32)
        and (series is None or other.get("series") in (series, None))
    ]
    sure = [other for other in alike if series is not None and other.get("series") == series]
    if sure:
        return sure
    return alike if len({other.get("cell") for other in alike}) == 1 else []


def model_flop_utilisation(
    training_flops_per_sample: float, throughput: float, flops_per_second: float
) -> float:
    """The share of the machine's floating-point rate that the model's own arithmetic makes up.

    Model FLOP utilisation as in Chowdhery et al. 2022 (PaLM), appendix B: operations that the
    model's mathematics needs, whatever the framework really computes, over those that the hardware
    could have done in the time. The hardware's rate is here a measured one, so that 1 is what
    large matrix products reach and not what a data sheet promises.

    Parameters
    ----------
    training_flops_per_sample:
        Floating-point operations of a forward and a backward pass of one sample.
    throughput:
        Samples/s of the whole job.
    flops_per_second:
        Operations/s of matrix products of the same arithmetic, summed over all workers.

    Raises
    ------
    ValueError
        If ``flops_per_second`` is not positive.
    """
    if not flops_per_second > 0:
        raise ValueError(f"flops_per_second is {flops_per_second}; a measured rate is positive")
    return training_flops_per_sample * throughput / flops_per_second


def communication_share(seconds_with: float, seconds_without: float) -> float:
    """The share of a step's time that goes away where gradients are not exchanged: 1 - off / on.

    Communication that a framework hides behind computation costs nothing and isn't counted.

    Parameters
    ----------
    seconds_with, seconds_without:
        Seconds of the same steps, with and without the exchange of gradients.

    Returns
    -------
    float
        At most 1. Where the share is small, noise may make it negative; it is returned as it is,
        because a mean over repeats of cut values would be too large.

    Raises
    ------
    ValueError
        If ``seconds_with`` is not positive.
    """
    if not seconds_with > 0:
        raise ValueError(f"seconds_with is {seconds_with}; a measured time is positive")
    return 1.0 - seconds_without / seconds_with

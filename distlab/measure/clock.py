"""How a run is timed: an epoch's window, the spans inside it, and what is computed from them.

The *window* of an epoch lies between two barriers, with the devices idle at both ends. Inside it
there are training steps and nothing else: warm-up, compilation, evaluation and records are
outside. Throughput is the samples of all ranks over the slowest rank's window.

A window is cut into *spans* of equal length, because a compiled framework may run many steps in
one call and shows no single step from outside. A step time is a span's time over its steps; so
percentiles of step times are percentiles over spans, and are found the same way for all
frameworks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPAN_FLOPS = 25e9
GPU_SPAN_FLOPS = 2.5e12


@dataclass(frozen=True)
class Window:
    """The timing of one epoch on one rank.

    Attributes
    ----------
    seconds:
        From the first barrier's return to the second one's.
    spans:
        ``(steps, seconds)`` of each span, in order.
    """

    seconds: float
    spans: tuple[tuple[int, float], ...]


def span_lengths(steps: int, flops_per_step: int, device: str = "cpu") -> list[int]:
    """Cut an epoch into spans of nearly equal length, each of about 25 GFLOP on each rank.

    A call into a compiled framework costs up to 2 ms. A span of 25 GFLOP takes a CPU core some
    tenths of a second, so that the calls stay below 1 % of it. A GPU is a hundred times as fast
    and each span ends with it idle, so there a span has 2500 GFLOP. Spans are counted in
    operations and not in seconds, because all ranks must cut alike.

    Parameters
    ----------
    steps:
        Steps of the epoch.
    flops_per_step:
        Floating-point operations of one step on one rank.
    device:
        ``cpu`` or ``gpu``.

    >>> span_lengths(938, 2_263_920 * 64)  # LeNet-5, batch 64
    [190, 190, 190, 190, 178]
    >>> span_lengths(938, 379_600 * 64)  # the MLP
    [938]
    """
    span_flops = GPU_SPAN_FLOPS if device == "gpu" else SPAN_FLOPS
    spans = max(1, round(steps * flops_per_step / span_flops))
    length = max(10, 10 * math.ceil(steps / (10 * spans)))
    return [min(length, steps - start) for start in range(0, steps, length)]


def throughput(samples: int, windows: Sequence[float]) -> float:
    """Samples per second of the whole job over one epoch.

    Parameters
    ----------
    samples:
        Samples that all ranks consumed together in the epoch.
    windows:
        Every rank's window in seconds; the slowest counts.
    """
    return samples / max(windows)


def step_time_percentiles(windows: Sequence[Window]) -> dict[str, float]:
    """p50, p95 and p99 of the step time in milliseconds, over the spans of one rank's windows.

    The shorter span that ends an epoch is left out, unless there are no others. Percentiles
    interpolate linearly (Hyndman & Fan 1996, type 7).
    """
    spans = [span for window in windows for span in window.spans]
    longest = max(steps for steps, _ in spans)
    times = [1e3 * seconds / steps for steps, seconds in spans if steps == longest]
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def compile_seconds(first: Sequence[tuple[int, float]], again: tuple[int, float]) -> float:
    """Seconds that compilation and other first-time work took, never below 0.

    Parameters
    ----------
    first:
        ``(steps, seconds)`` of the first calls, the very first one and one of each span length.
    again:
        ``(steps, seconds)`` of a later call, in which nothing is compiled.
    """
    steps, seconds = again
    expected = seconds / steps * sum(steps for steps, _ in first)
    return max(0.0, sum(seconds for _, seconds in first) - expected)


def time_to_accuracy(
    accuracies: Sequence[float], epoch_seconds: Sequence[float], target: float
) -> float | None:
    """Training seconds until the test accuracy first reached ``target``, or None if it never did.

    Accuracy is known at the end of epochs, so the answer is a sum of whole epochs' windows.
    Evaluation time is not counted.
    """
    for epoch, accuracy in enumerate(accuracies):
        if accuracy >= target:
            return float(sum(epoch_seconds[: epoch + 1]))
    return None

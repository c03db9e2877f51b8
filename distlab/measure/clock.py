"""How a run is timed: an epoch's window, the spans inside it, and what is computed from them.

The *window* of an epoch lies between two barriers, with the devices idle at both ends. Inside it
there are training steps and nothing else: warm-up, compilation, evaluation and records are
outside. Throughput is the samples of all ranks over the slowest rank's window.

A window is cut into *spans* of equal length, because a compiled framework may run many steps in
one call and shows no single step from outside. A step time is a span's mean: its time over its
steps; so percentiles of step times are percentiles of such means over spans, found the same way for
all frameworks, and given only where there are spans enough (:func:`step_times`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPAN_FLOPS = 25e9
GPU_SPAN_FLOPS = 2.5e12
FEWEST_SPANS = {50: 10, 95: 20, 99: 100}
"""For a percentile p, 1 / (1 - p) spans, so that at least one is expected above it; for the median
ten, because that of two or three is hardly one."""


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


def part_lengths(steps: int, every: int | None) -> list[int]:
    """Cut an epoch into the parts after each of which the model is evaluated.

    Each has a window of its own, and the epoch's is their sum.

    Parameters
    ----------
    steps:
        Steps of the epoch, or of what a run took of it.
    every:
        Steps from one evaluation to the next; None: the epoch is one part.

    >>> part_lengths(78, 30)
    [30, 30, 18]
    """
    length = steps if every is None else every
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


def step_times(windows: Sequence[Window]) -> dict[str, float | int | None]:
    """Mean and percentiles of the step time in milliseconds, of one rank's windows.

    The mean is over all steps. ``p50``, ``p95`` and ``p99`` are percentiles, over ``spans`` spans,
    of the mean step time in a span of ``span_steps`` steps. They are None where they would say
    nothing of steps: with fewer spans than ``FEWEST_SPANS``, or where every epoch is one span, so
    that they would be of epochs. The shorter span that ends an epoch is left out of them, unless
    there are no others. Percentiles interpolate linearly (Hyndman & Fan 1996, type 7).
    """
    spans = [span for window in windows for span in window.spans]
    longest = max(steps for steps, _ in spans)
    times = [1e3 * seconds / steps for steps, seconds in spans if steps == longest]
    cut = any(len(window.spans) > 1 for window in windows)
    seconds, steps = sum(window.seconds for window in windows), sum(steps for steps, _ in spans)
    return {
        "mean": 1e3 * seconds / steps,
        **{
            f"p{p}": float(np.percentile(times, p)) if cut and len(times) >= fewest else None
            for p, fewest in FEWEST_SPANS.items()
        },
        "spans": len(times),
        "span_steps": longest,
    }


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

    Accuracy is known at evaluations, so the answer is a sum of the windows between them: by default
    of whole epochs'. Evaluation time is not counted.
    """
    for epoch, accuracy in enumerate(accuracies):
        if accuracy >= target:
            return float(sum(epoch_seconds[: epoch + 1]))
    return None

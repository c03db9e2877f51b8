"""The evaluations of a run as points of its training: after which step and time, how good."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from distlab.backends.base import Evaluation
from distlab.outcome.events import EpochDone


@dataclass(frozen=True)
class Point:
    """One evaluation, all ranks merged.

    Attributes
    ----------
    step:
        After how many steps, of its epoch or of the run.
    seconds:
        How long they took the slowest rank, evaluations not counted.
    evaluated:
        Test samples that were evaluated, over all ranks.
    """

    step: int
    seconds: float
    test_accuracy: float
    test_loss: float
    evaluated: int


def merged(step: int, seconds: float, evaluations: Sequence[Evaluation]) -> Point:
    """The point that all ranks' parts of an evaluation make up."""
    evaluated = sum(one.samples for one in evaluations)
    return Point(
        step,
        seconds,
        sum(one.correct for one in evaluations) / max(evaluated, 1),
        sum(one.loss_sum for one in evaluations) / max(evaluated, 1),
        evaluated,
    )


def inside(parts: Sequence[EpochDone]) -> tuple[Point, ...]:
    """The evaluations inside an epoch, of what its ranks told."""
    return tuple(
        merged(
            each[0].step,
            max(one.seconds for one in each),
            [one.evaluation for one in each],
        )
        for each in zip(*(part.inner for part in parts), strict=True)
    )


def of_run(epochs: Iterable[Sequence[Point]]) -> list[Point]:
    """All points of a run, by its own steps and seconds.

    Parameters
    ----------
    epochs:
        Of each epoch those inside and that after it, by the epoch's steps and seconds.
    """
    found: list[Point] = []
    for points in epochs:
        steps, seconds = (found[-1].step, found[-1].seconds) if found else (0, 0.0)
        found += [
            Point(
                steps + one.step,
                seconds + one.seconds,
                *(one.test_accuracy, one.test_loss, one.evaluated),
            )
            for one in points
        ]
    return found


def to_target(points: Sequence[Point], target: float) -> tuple[float | None, float | None]:
    """Seconds of training until an evaluation first reached ``target``, and since the one before.

    The second is how finely the first is known. None if it was never reached.
    """
    before = 0.0
    for one in points:
        if one.test_accuracy >= target:
            return one.seconds, one.seconds - before
        before = one.seconds
    return None, None


def told(points: Sequence[Point], learnable: bool) -> list[dict[str, Any]]:
    """Points as a summary holds them; of noise no accuracy is told."""
    return [
        {
            "step": one.step,
            "seconds": one.seconds,
            "test_accuracy": one.test_accuracy if learnable else None,
            "test_loss": one.test_loss,
        }
        for one in points
    ]

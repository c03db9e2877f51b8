"""An epoch of the whole job, the parts of all ranks merged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlab.outcome.evaluations.points import Point


@dataclass(frozen=True)
class Epoch:
    """One epoch of the whole job.

    Attributes
    ----------
    seconds:
        The slowest rank's window.
    step_time_ms:
        See :func:`distlab.measure.clock.step_times`.
    losses:
        float64 ``[steps]``: loss of each global batch, the mean over ranks of equal shards.
    evaluated:
        Test samples that were evaluated, over all ranks.
    learnable:
        Whether the accuracy means anything: of noise it does not.
    inner:
        Evaluations inside the epoch.
    """

    index: int
    seconds: float
    throughput: float
    step_time_ms: dict[str, float | int | None]
    losses: NDArray[np.float64]
    test_accuracy: float
    test_loss: float
    evaluated: int
    learnable: bool = True
    inner: tuple[Point, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps it had: fewer than others if the run ended inside it."""
        return len(self.losses)

    @property
    def points(self) -> list[Point]:
        """All its evaluations: those inside it, and that after it."""
        after = self.test_accuracy, self.test_loss, self.evaluated
        return [*self.inner, Point(self.steps, self.seconds, *after)]

    @property
    def told_accuracy(self) -> float | None:
        """The accuracy, as records and people are told it: None of noise."""
        return self.test_accuracy if self.learnable else None

    @property
    def train_loss(self) -> float:
        """Mean loss over the epoch's steps."""
        return float(self.losses.mean())

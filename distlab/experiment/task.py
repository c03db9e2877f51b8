"""What all ranks of a run are told."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Program
from distlab.experiment.training.stopping import Stop
from distlab.models.spec import ModelSpec


@dataclass(frozen=True)
class Task:
    """What all ranks of a run are told.

    Attributes
    ----------
    framework:
        Name of the backend.
    epochs, global_batch, seed:
        Length of the run, samples of a step over all ranks, seed of weights and sample order.
    live:
        Whether rank 0 reports its position inside epochs, for a progress bar.
    measure_exchange:
        Whether to measure, after the last epoch, what the exchange of gradients costs.
    checkpoint_every:
        After how many epochs, and after the last, rank 0 gives the state; 0: never.
    rates:
        The learning rate of every step of the run: ``[epochs * steps]``; None: the program's.
    evaluate_every:
        After how many steps of an epoch, and after its last, the model is evaluated; None: after
        the last alone.
    stop:
        What ends the run before its epochs are over.
    """

    framework: str
    spec: ModelSpec
    program: Program
    epochs: int
    global_batch: int
    seed: int
    live: bool = False
    measure_exchange: bool = False
    checkpoint_every: int = 0
    rates: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    evaluate_every: int | None = None
    stop: Stop = field(default_factory=Stop)

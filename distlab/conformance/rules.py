"""Each optimizer on one small model, at learning rates that differ from step to step."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import MOMENTS, Program
from distlab.conformance import kinds
from distlab.fairness import optimizers, reference

MODEL = "dense"
"""One of :data:`distlab.conformance.kinds.KINDS`."""
_SGD = replace(kinds.PROGRAM, rule="sgd", weight_decay=0.3)
PROGRAMS: dict[str, Program] = {
    "adam": kinds.PROGRAM,
    "adamw": replace(kinds.PROGRAM, rule="adamw", weight_decay=0.3),
    "sgd": replace(_SGD, weight_decay=0.0),
    "sgd with weight decay": _SGD,
    "sgd with momentum": replace(_SGD, momentum=0.8),
    "sgd with Nesterov's momentum": replace(_SGD, momentum=0.8, nesterov=True),
}
"""Numbers that tell: a decay whose absence, or double, moves weights by more than the bound."""
RATES = np.array([1e-2, 3e-2, 0.0, 2e-2, 5e-3, 1e-2])
"""Of each step. At 0 weights stay and moments move on."""
SPLIT = 2
"""After so many steps the state is read, and set again later."""


def order() -> NDArray[np.int32]:
    """``[6, 8]``: the samples of each global batch."""
    return np.tile(kinds.order(), (2, 1))


@dataclass(frozen=True)
class Answer:
    """What the oracle finds: losses before each step; weights and moments behind the last."""

    losses: NDArray[np.float64]
    weights: dict[str, NDArray[np.float64]]
    moments: dict[str, dict[str, NDArray[np.float64]]]


@cache
def answer(name: str) -> Answer:
    """The oracle's answer for one of :data:`PROGRAMS`."""
    optimizer = optimizers.of(PROGRAMS[name])
    losses, weights = reference.train(
        kinds.model(MODEL), optimizer, kinds.start(MODEL), *kinds.data(), order(), rates=RATES
    )
    return Answer(losses, weights, dict(zip(MOMENTS, (optimizer.m, optimizer.v), strict=True)))

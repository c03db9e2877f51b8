"""The conformance check of layers: each kind of them computes what the oracle does."""

from typing import Any

import numpy as np

from distlab.conformance import kinds
from distlab.conformance.checks.compare import (
    LOSS_SUM,
    MOVED,
    ConformanceError,
    moves,
    require,
    require_equal,
    worst,
)
from distlab.conformance.checks.evidence import seen
from distlab.conformance.rank.processes import Witness
from distlab.fairness.rounding import loss_errors

LOSSES = 1e-5
"""Relative. Three float32 frameworks were off by at most 6e-7."""
GRADIENTS = 2e-4
"""Relative, in the Euclidean norm. They were off by at most 1.2e-5, behind a batch norm."""


def layers(solo: list[Witness], pair: list[Witness]) -> str:
    """Every kind of layer trains as the oracle says, by one worker and by two.

    Two have batch statistics of their own, and the mean of their running ones. What a backend
    refuses is told.
    """
    refused: dict[str, str] = {}
    counted = 0
    for ranks in filter(None, (solo, pair)):
        found = [seen(witness, "kinds") for witness in ranks]
        for kind in found[0]:
            if isinstance(found[0][kind], str):
                refused[kind] = found[0][kind]
                continue
            who = f"{kind}, {len(ranks)} worker{'s' * (len(ranks) > 1)}"
            _require_right(kind, [one[kind] for one in found], who)
            counted += 1
    for witness in (*solo, *pair):
        require(witness.exit_code == 0, f"rank {witness.rank}: {witness.why}")
    if refused:
        told = "; ".join(f"{kind}: {why}" for kind, why in refused.items())
        raise ConformanceError(f"refuses {told}")
    return f"{counted} small models: losses within {LOSSES:.0e}, gradients within {GRADIENTS:.0e}"


def _require_right(kind: str, found: list[dict[str, Any]], who: str) -> None:
    """One small model, of all ranks of a world."""
    start, answer = kinds.start(kind), kinds.answer(kind, len(found))
    for rank, one in enumerate(found):
        require_equal(one["stored"], start, f"{who}: rank {rank} read back")
        require_equal(one["weights"], found[0]["weights"], f"{who}: rank {rank} against rank 0")
    for one in found:
        for when, got, expected in zip(
            ("before", "after"), one["evaluated"], answer.evaluated, strict=True
        ):
            require(
                abs(got - expected) <= LOSS_SUM * expected,
                f"{who}: evaluation {when} training: a sum of losses of {got:.7g}, "
                f"expected {expected:.7g}",
            )
    losses = np.mean([one["losses"].astype(np.float64) for one in found], axis=0)
    off = float(loss_errors(losses, answer.losses).max())
    require(off <= LOSSES, f"{who}: losses off by {off:.1e} (bound {LOSSES:.0e})")
    slopes = {
        name: moment / (1 - kinds.PROGRAM.beta1)
        for name, moment in found[0]["first_moment"].items()
    }
    name, off = worst(slopes, answer.gradients)
    require(off <= GRADIENTS, f"{who}: gradient of {name} off by {off:.1e} ({GRADIENTS:.0e})")
    name, off = worst(moves(found[0]["weights"], start), moves(answer.arrays, start))
    require(off <= MOVED, f"{who}: moves of {name} off by {off:.1e} (bound {MOVED:.0e})")

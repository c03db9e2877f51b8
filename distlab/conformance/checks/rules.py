"""The conformance check of optimizers: each is its formula, at the rate of each step."""

from typing import Any

import numpy as np

from distlab.backends.base import MOMENTS
from distlab.conformance import kinds, rules
from distlab.conformance.checks.compare import (
    MOVED,
    bits_equal,
    moves,
    require,
    require_equal,
    unequal,
    worst,
)
from distlab.conformance.checks.evidence import seen
from distlab.conformance.checks.layers import LOSSES
from distlab.conformance.rank.processes import Witness
from distlab.fairness.rounding import loss_errors


def optimizers(solo: list[Witness], pair: list[Witness]) -> str:
    """Every optimizer that a backend names goes where the oracle's goes, by one worker and by two.

    Its state is read and set again bit for bit, and holds what the formula needs and no more.
    """
    names: list[str] = []
    for ranks in filter(None, (solo, pair)):
        found = [seen(witness, "optimizers") for witness in ranks]
        names = list(found[0])
        for name in names:
            who = f"{name}, {len(ranks)} worker{'s' * (len(ranks) > 1)}"
            _require_right(name, [one[name] for one in found], who)
    return f"{', '.join(names)}: losses within {LOSSES:.0e}, moves within {MOVED:.0e}"


def _require_right(name: str, found: list[dict[str, Any]], who: str) -> None:
    """One optimizer, of all ranks of a world."""
    start, answer = kinds.start(rules.MODEL), rules.answer(name)
    for rank, one in enumerate(found):
        require_equal(one["weights"], found[0]["weights"], f"{who}: rank {rank} against rank 0")
        again = one["again"]
        require(
            bits_equal(again["losses"], one["losses"][rules.SPLIT :])
            and not unequal(again["weights"], one["weights"]),
            f"{who}: going on from its own state after {rules.SPLIT} steps leads elsewhere",
        )
    losses = np.mean([one["losses"].astype(np.float64) for one in found], axis=0)
    off = float(loss_errors(losses, answer.losses).max())
    require(off <= LOSSES, f"{who}: losses off by {off:.1e} (bound {LOSSES:.0e})")
    array, off = worst(moves(found[0]["weights"], start), moves(answer.weights, start))
    require(off <= MOVED, f"{who}: moves of {array} off by {off:.1e} (bound {MOVED:.0e})")
    for moment in MOMENTS:
        held, expected = getattr(found[0]["state"], moment), answer.moments[moment]
        require(
            list(held) == list(expected),
            f"{who}: {moment} of {list(held) or 'nothing'}, expected of "
            f"{list(expected) or 'nothing'}",
        )
        if expected:
            array, off = worst(held, expected)
            require(off <= MOVED, f"{who}: {moment} of {array} off by {off:.1e}")

"""What a rank does with each optimizer that the backend names."""

from dataclasses import replace
from typing import Any

import numpy as np

from distlab.backends.base import Backend, OptimizerState, Placement, Program
from distlab.conformance import kinds, rules
from distlab.conformance.rank.rebuild import copies
from distlab.data.order import shard


def trained(backend: Backend, placement: Placement, told: Program) -> dict[str, Any]:
    """Train by each, twice: at once, and from the state in between once that has been lost.

    Parameters
    ----------
    backend:
        One that has data.
    placement:
        Where this rank stands.
    told:
        Its execution and its part of the batch are those of this program.
    """
    spec, start = kinds.model(rules.MODEL), kinds.start(rules.MODEL)
    mine = shard(rules.order(), placement.rank, placement.world_size)
    split, found = rules.SPLIT, {}
    for name, program in rules.PROGRAMS.items():
        if program.rule not in backend.optimizers:
            continue
        own = replace(program, local_batch=told.local_batch, execution=told.execution)
        backend.build(spec, own)
        backend.set_weights(start)
        backend.set_optimizer_state(OptimizerState.zero(spec, own.moments))
        losses = [backend.train(mine[:split], rules.RATES[:split])]
        kept, state = copies(backend.weights()), backend.optimizer_state()
        losses.append(backend.train(mine[split:], rules.RATES[split:]))
        weights, moments = copies(backend.weights()), backend.optimizer_state()
        backend.train(mine[:split])  # at the program's own rate
        backend.set_weights(kept)
        backend.set_optimizer_state(state)
        again = backend.train(mine[split:], rules.RATES[split:])
        found[name] = {
            "losses": np.concatenate(losses),
            "weights": weights,
            "state": moments,
            "again": {"losses": again, "weights": backend.weights()},
        }
    return found

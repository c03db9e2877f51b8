"""What a rank does with each kind of layer: a few steps of a small model, and evaluations.

With the first of these models it goes through the optimizers, too.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distlab.backends.base import OptimizerState
from distlab.backends.registry import load
from distlab.conformance import kinds
from distlab.conformance.problem import Job
from distlab.conformance.rank import rules
from distlab.conformance.rank.notes import Notes
from distlab.data.order import shard
from distlab.errors import DistlabError


def look(job: Job, path: Path) -> None:
    """Train every small model and by every optimizer; what the backend refuses is noted, too."""
    notes = Notes(path)
    try:
        _train(job, notes)
        notes.note("closed", True)
    except BaseException as error:
        notes.values["error"] = " ".join(f"{type(error).__name__}: {error}".split())
        raise
    finally:
        notes.save()


def _train(job: Job, notes: Notes) -> None:
    backend_class, placement = load(job.framework), job.placement
    notes.note("executions", tuple(backend_class.executions))
    execution = job.execution
    if isinstance(execution, int):
        execution = backend_class.executions[execution]
    mine = shard(kinds.order(), placement.rank, placement.world_size)
    program = replace(
        kinds.PROGRAM,
        local_batch=mine.shape[1],
        execution="graph" if execution == "graph" else "eager",
    )
    backend = backend_class(placement)
    loaded = False
    found: dict[str, Any] = {}
    for kind in kinds.looked_at(program.execution, placement.world_size):
        spec, everything = kinds.model(kind), (0, kinds.SAMPLES)
        try:
            backend.build(spec, program)
        except DistlabError as error:
            found[kind] = error.found
            continue
        if not loaded:
            backend.load_data(kinds.data(), kinds.data())
            loaded = True
        backend.set_weights(kinds.start(kind))
        backend.set_optimizer_state(OptimizerState.zero(spec))
        before, stored = backend.evaluate(*everything), backend.weights()
        losses = [backend.train(mine[:1])]
        moment = backend.optimizer_state().first_moment
        losses.append(backend.train(mine[1:]))
        found[kind] = {
            "stored": stored,
            "losses": np.concatenate(losses),
            "first_moment": moment,
            "weights": backend.weights(),
            "evaluated": (before.loss_sum, backend.evaluate(*everything).loss_sum),
        }
    notes.note("kinds", found)
    notes.note("optimizers", rules.trained(backend, placement, program))
    backend.close()

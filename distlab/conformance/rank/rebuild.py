"""The acts of a rank that build the backend again, and what they share with the other acts."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Backend, OptimizerState, Program
from distlab.conformance.problem import HALFWAY, Job
from distlab.conformance.rank.notes import Notes
from distlab.data.order import shard
from distlab.models.weights import Weights

PAIR = 2
"""Ranks of the larger world."""
PATIENCE_S = 10.0
"""How long rank 1 waits for a step of rank 0, which must not need rank 1."""
ROUNDED_ON_CPU: tuple[Literal["bf16"], ...] = ("bf16",)
"""Precisions beside fp32 that a CPU may have."""


class Rebuilding:
    """One rank's job, its notes, and acts that train a program again or another one."""

    program: Program

    def __init__(self, job: Job, path: Path) -> None:
        assert job.problem is not None
        self.job, self.problem = job, job.problem
        self.notes = Notes(path)
        self.rank_0_stepped = path.parent / "rank_0_stepped"
        placement = job.placement
        self.mine = shard(self.problem.order, placement.rank, placement.world_size)

    def _set(self, backend: Backend, weights: Weights, state: OptimizerState) -> None:
        """Set weights and state from arrays of which nothing is left afterwards."""
        weights = copies(weights)
        state = OptimizerState(state.step, copies(state.first_moment), copies(state.second_moment))
        backend.set_weights(weights)
        backend.set_optimizer_state(state)
        for arrays in (weights, state.first_moment, state.second_moment):
            for array in arrays.values():
                array.fill(np.nan)

    def _trained(self, backend: Backend, *spans: NDArray[np.int32]) -> dict[str, Any]:
        """Losses and weights of steps from the start, in one call of ``train`` for each span."""
        self._set(backend, self.problem.initial, OptimizerState.zero(self.problem.spec))
        losses = np.concatenate([backend.train(span) for span in spans])
        return {"losses": losses, "weights": backend.weights()}

    def _rebuild(self, backend: Backend) -> None:
        """The same program once more, with the data that are there."""
        self.notes.note("rebuilt", self._rebuilt(backend))

    def _rebuild_again(self, backend: Backend) -> None:
        """The same program after others."""
        self.notes.note("rebuilt_again", self._rebuilt(backend))

    def _rebuilt(self, backend: Backend) -> dict[str, Any]:
        mine, everything = self.mine, self.problem.ranges[-1]
        # Nobody who looks at the old model's weights must find those that are evaluated below.
        backend.set_weights(self.problem.initial)
        backend.build(self.problem.spec, self.program)
        found = self._trained(backend, mine[:1], mine[1:HALFWAY], mine[HALFWAY:])
        self._set(backend, self.problem.halfway, self.problem.halfway_state)
        return {**found, "evaluations": {everything: backend.evaluate(*everything)}}

    def _train_apart(self, backend: Backend) -> None:
        """Half shards of a pair: one worker takes both in turn, two take theirs unexchanged.

        Then rank 1 takes a step only after rank 0 has taken one, or couldn't.
        """
        spec, rank = self.problem.spec, self.job.placement.rank
        shards = [shard(self.problem.order, of, PAIR) for of in range(PAIR)]
        halves = [part[:, : part.shape[1] // 2] for part in shards]
        program = replace(self.program, local_batch=halves[0].shape[1])
        if self.job.placement.world_size == 1:
            backend.build(spec, program)
            self.notes.note("halves", [self._trained(backend, half) for half in halves])
            backend.build(spec, replace(self.program, exchange=False))
            self.notes.note("unexchanged", self._trained(backend, self.mine))
            return
        backend.build(spec, replace(program, exchange=False))
        self.notes.note("unexchanged", self._trained(backend, halves[rank]))
        if rank > 0:
            given_up = time.monotonic() + PATIENCE_S
            while not self.rank_0_stepped.exists() and time.monotonic() < given_up:
                time.sleep(0.01)
        begun = time.monotonic()
        backend.train(halves[rank][:1])
        self.notes.note("stepping", (begun, time.monotonic()))
        if rank == 0:
            self.rank_0_stepped.touch()

    def _train_rounded(self, backend: Backend) -> None:
        """Each precision that a CPU may have, and then the first program once more."""
        mine, everything = self.mine, self.problem.ranges[-1]
        found: dict[str, Any] = {}
        for precision in ROUNDED_ON_CPU:
            if precision in backend.precisions:
                backend.build(self.problem.spec, replace(self.program, precision=precision))
                trained = self._trained(backend, mine[:1], mine[1:HALFWAY], mine[HALFWAY:])
                self._set(backend, self.problem.halfway, self.problem.halfway_state)
                evaluated = backend.evaluate(*everything)
                tf32 = bool(backend.describe()["tf32"])
                found[precision] = {**trained, "evaluation": evaluated, "tf32": tf32}
        if found:
            self.notes.note("unrounded", self._rebuilt(backend))
        self.notes.note("rounded", found)


def copies(arrays: Weights) -> dict[str, NDArray[np.float32]]:
    """The arrays as C-contiguous copies."""
    return {name: np.array(array, order="C") for name, array in arrays.items()}

"""One rank of the conformance suite: a fresh process that drives the backend and notes all it sees.

It judges nothing (:mod:`distlab.conformance.checks.contract` does) and writes its notes after each
act, so that they survive if a later one kills the process. Run as
``python -m distlab.conformance.rank.rank JOB NOTES`` with stdout and stderr in one file.
"""

import os
import pickle
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distlab.backends.base import Backend, OptimizerState
from distlab.backends.registry import load
from distlab.conformance.problem import HALFWAY, MOMENTS, averaged_values
from distlab.conformance.rank import layers
from distlab.conformance.rank.rebuild import Rebuilding, copies

FRAMEWORKS = {
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "TensorFlow",
    "paddle": "Paddle",
    "jax": "JAX",
    "mxnet": "MXNet",
    "mindspore": "MindSpore",
}
"""Which framework a top-level module is a part of."""
LATE_S = 0.3
"""How much later than the others rank 0 comes to the barrier."""


class Rank(Rebuilding):
    """The acts of one rank, in order; ``notes`` holds what was seen."""

    def run(self) -> None:
        """Do everything; an exception ends the process after it was noted."""
        try:
            backend = self._start()
            printed = _printed()
            self.notes.note("printed_before", printed)
            for act in (
                self._resume_first,
                self._store_and_read_back,
                self._train_in_parts,
                self._continue_from_own_state,
                self._train_in_one_call,
                self._resume_again,
                self._evaluate,
                self._meet,
                self._average,
                self._rebuild,
                self._train_apart,
                self._rebuild_again,
                self._train_rounded,
            ):
                act(backend)
                self.notes.save()
            self.notes.note("printed", _printed() - printed)
            backend.close()
            self.notes.note("closed", True)
        except BaseException as error:
            self.notes.values["error"] = " ".join(f"{type(error).__name__}: {error}".split())
            traceback.print_exc()
            raise
        finally:
            self.notes.save()

    def _start(self) -> Backend:
        """From the import to a backend with data, as the contract's life of a backend goes."""
        problem = self.problem
        self.notes.note("frameworks_before", _frameworks())
        backend_class = load(self.job.framework)
        self.notes.note("framework", backend_class.framework)
        self.notes.note("executions", tuple(backend_class.executions))
        self.notes.note("precisions", tuple(backend_class.precisions))
        self.notes.save()
        execution = self.job.execution
        if isinstance(execution, int):
            execution = backend_class.executions[execution]
        elif execution not in backend_class.executions:
            raise ValueError(f"no execution {execution} among {backend_class.executions}")
        self.program = replace(
            problem.program,
            local_batch=self.mine.shape[1],
            execution="graph" if execution == "graph" else "eager",
        )
        backend = backend_class(self.job.placement)
        backend.build(problem.spec, self.program)
        for images, labels in (problem.train, problem.test):
            images.flags.writeable = labels.flags.writeable = False
        backend.load_data(problem.train, problem.test)
        self.notes.note("description", backend.describe())
        self.notes.note("frameworks", _frameworks())
        self.notes.save()
        return backend

    def _resume_first(self, backend: Backend) -> None:
        """Go on from the oracle's state in a process that has not trained yet."""
        self.notes.note("resumed", self._resumed(backend))

    def _resume_again(self, backend: Backend) -> None:
        """The same in an object that has trained."""
        self.notes.note("resumed_again", self._resumed(backend))

    def _resumed(self, backend: Backend) -> dict[str, Any]:
        self._set(backend, self.problem.halfway, self.problem.halfway_state)
        losses = backend.train(self.mine[HALFWAY:])
        return {"losses": losses, "weights": backend.weights()}

    def _store_and_read_back(self, backend: Backend) -> None:
        problem = self.problem
        self._set(backend, problem.special, problem.special_state)
        weights, state = backend.weights(), backend.optimizer_state()
        self.notes.note("stored", {"weights": weights, "state": state})
        self.notes.note(
            "unsound",
            [
                f"{what} {name} is {array.dtype} {array.flags.c_contiguous=}"
                for what, arrays in (
                    ("weight", weights),
                    ("first moment", state.first_moment),
                    ("second moment", state.second_moment),
                )
                for name, array in arrays.items()
                if array.dtype != np.float32 or not array.flags.c_contiguous
            ],
        )

    def _train_in_parts(self, backend: Backend) -> None:
        """Spans of 1, 4 and 5 steps, with weights and state read in between."""
        problem = self.problem
        self._set(backend, problem.initial, OptimizerState.zero(problem.spec))
        parts = [backend.train(self.mine[:1])]
        self.notes.note("first_moment", copies(backend.optimizer_state().first_moment))
        parts.append(backend.train(self.mine[1:HALFWAY]))
        self.halfway = weights, state = backend.weights(), backend.optimizer_state()
        kept = copies(weights), copies(state.first_moment)
        parts.append(backend.train(self.mine[HALFWAY:]))
        self.notes.note(
            "not_copies",
            [
                name
                for name in weights
                if not np.array_equal(weights[name], kept[0][name])
                or not np.array_equal(state.first_moment[name], kept[1][name])
            ],
        )
        self.notes.note("halfway", {"weights": weights, "state": state})
        self.notes.note(
            "losses", [(type(p).__name__, str(np.asarray(p).dtype), np.shape(p)) for p in parts]
        )
        self.notes.note(
            "parts",
            {
                "losses": np.concatenate(parts),
                "weights": backend.weights(),
                "state": backend.optimizer_state(),
            },
        )

    def _continue_from_own_state(self, backend: Backend) -> None:
        self._set(backend, *self.halfway)
        losses = backend.train(self.mine[HALFWAY:])
        self.notes.note("continued", {"losses": losses, "weights": backend.weights()})

    def _train_in_one_call(self, backend: Backend) -> None:
        self.notes.note("one_call", self._trained(backend, self.mine))

    def _evaluate(self, backend: Backend) -> None:
        """Every range on every rank, but different ones at a time."""
        self._set(backend, self.problem.halfway, self.problem.halfway_state)
        self.notes.note("before_evaluation", self._held(backend))
        ranges = self.problem.ranges
        first = self.job.placement.rank
        self.notes.note(
            "evaluations",
            {part: backend.evaluate(*part) for part in ranges[first:] + ranges[:first]},
        )
        self.notes.note("after_evaluation", self._held(backend))

    def _held(self, backend: Backend) -> dict[str, Any]:
        state = backend.optimizer_state()
        return {"weights": backend.weights(), **{m: getattr(state, m) for m in MOMENTS}}

    def _meet(self, backend: Backend) -> None:
        backend.barrier()
        if self.job.placement.rank == 0:
            time.sleep(LATE_S)
        came = time.monotonic()
        backend.barrier()
        self.notes.note("barrier", (came, time.monotonic()))

    def _average(self, backend: Backend) -> None:
        """Average values of its own with the other rank's, and then once more."""
        placement = self.job.placement
        if placement.world_size == 1:
            return
        values = averaged_values(placement.rank)
        given = values.copy()
        averaging = backend.averaging(given)
        if averaging is None:
            self.notes.note("averaged", None)
            return
        averaging.run()
        once = averaging.read()
        averaging.run()
        changed = not np.array_equal(given, values)
        self.notes.note("averaged", {"once": once, "twice": averaging.read(), "changed": changed})


def _frameworks() -> list[str]:
    """The frameworks that this process has imported."""
    return sorted({FRAMEWORKS[name] for name in FRAMEWORKS if name in sys.modules})


def _printed() -> int:
    """Bytes that this process, its native code included, has written so far."""
    sys.stdout.flush()
    sys.stderr.flush()
    return os.fstat(1).st_size


def main(job_path: str, notes_path: str) -> None:
    """Run the job in one file and write the notes to another."""
    job, path = pickle.loads(Path(job_path).read_bytes()), Path(notes_path)
    if job.problem is None:
        layers.look(job, path)
    else:
        Rank(job, path).run()


if __name__ == "__main__":
    main(*sys.argv[1:])

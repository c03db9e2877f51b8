"""Faults that any backend can have, as classes to put in front of a backend; no framework here.

Each is what somebody who writes a backend might do wrong without seeing it: training goes on and
the accuracy is about as good. ``CAUGHT_BY`` says which check has to name each.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from faulty_backends import transposed
from numpy.typing import NDArray
from numpy_sockets import Rates

from distlab.backends.base import Backend, Evaluation, OptimizerState
from distlab.models.weights import Weights

CAUGHT_BY = {
    "Transposed": ("gradients", "trajectory"),
    "GradientOfRank1Dropped": ("workers", "trajectory"),
    "GradientsNotExchanged": ("replicas", "replicas"),
    "PaddedSampleCounted": ("evaluation", "evaluation"),
    "PaddedSampleHidden": ("evaluation", "recount"),
    "OrderShiftedByOne": ("adam", "trajectory"),
    "EpsilonHat": ("adam", "optimizer"),
    "StepsCountedOn": ("rebuild", None),
    "ExchangesAlways": ("exchange_off", None),
}
"""The check of the conformance suite and the check of a run that name each fault.

None where no run can see it: it shows in a rebuilt model, or in what the exchange seems to cost.
"""


class Transposed(Backend):
    """Computes with the transposed weight, on the way in and out: what is read back is right."""

    def set_weights(self, weights: Weights) -> None:
        super().set_weights(transposed(weights))

    def weights(self) -> Weights:
        return transposed(super().weights())

    def set_optimizer_state(self, state: OptimizerState) -> None:
        moments = transposed(state.first_moment), transposed(state.second_moment)
        super().set_optimizer_state(OptimizerState(state.step, *moments))

    def optimizer_state(self) -> OptimizerState:
        state = super().optimizer_state()
        moments = transposed(state.first_moment), transposed(state.second_moment)
        return OptimizerState(state.step, *moments)


class PaddedSampleCounted(Backend):
    """Every range is filled up with its last sample, which is counted once more."""

    def evaluate(self, start: int, stop: int) -> Evaluation:
        found = super().evaluate(start, stop)
        if start == stop:
            return found
        extra = super().evaluate(stop - 1, stop)
        return Evaluation(
            found.samples + 1, found.correct + extra.correct, found.loss_sum + extra.loss_sum
        )


class PaddedSampleHidden(PaddedSampleCounted):
    """The same, but the number of samples is the right one."""

    def evaluate(self, start: int, stop: int) -> Evaluation:
        return replace(super().evaluate(start, stop), samples=stop - start)


class OrderShiftedByOne(Backend):
    """Each place of a span takes the sample of the next place, and the last that of the first."""

    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        return super().train(np.roll(indices, -1), rates)


class StepsCountedOn(Backend):
    """The optimizer of a model built again counts on from the last step of the one before."""

    counted: int | None = None

    def build(self, spec: Any, program: Any) -> None:
        last = None if self.counted is None else self.optimizer_state().step
        super().build(spec, program)
        self.counted = last or 0

    def set_optimizer_state(self, state: OptimizerState) -> None:
        super().set_optimizer_state(replace(state, step=state.step + (self.counted or 0)))


class ExchangesAlways(Backend):
    """Gradients are averaged whatever the program says."""

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, replace(program, exchange=True))


class EpsilonHat(Backend):
    """Epsilon added to the root before the bias correction: the other form of the paper.

    At step t that is Algorithm 1 with epsilon / sqrt(1 - beta2^t) (Kingma & Ba, 2015, section 2).
    """

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)
        self.constants = program

    def set_epsilon(self, epsilon: float) -> None:
        """Give the framework's Adam another epsilon."""
        raise NotImplementedError

    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        losses, step = [], self.optimizer_state().step
        for t, batch in enumerate(indices, step + 1):
            self.set_epsilon(self.constants.epsilon / np.sqrt(1 - self.constants.beta2**t))
            losses.append(super().train(batch[np.newaxis]))
        return np.concatenate(losses)

"""The NumPy backend, broken on purpose in one place each; the suite must name the place."""

import sys
import threading
import time
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import rounded_products
from numpy.typing import NDArray
from numpy_sockets import NumpyBackend, Rates, copy

from distlab.backends.base import Averaging, Evaluation, OptimizerState, Placement
from distlab.errors import DistlabError
from distlab.fairness import reference
from distlab.fairness.layers import pointwise
from distlab.models.layers import BatchNorm
from distlab.models.weights import Weights


def transposed(weights: Weights) -> Weights:
    """Square dense weights transposed: no shape gives that away."""
    return {
        name: array.T.copy() if array.ndim == 2 and len(set(array.shape)) == 1 else array
        for name, array in weights.items()
    }


class TransposedIn(NumpyBackend):
    def set_weights(self, weights: Weights) -> None:
        super().set_weights(transposed(weights))


class TransposedInAndOut(TransposedIn):
    def weights(self) -> Weights:
        return transposed(super().weights())


class NegativeZeroLost(NumpyBackend):
    def set_weights(self, weights: Weights) -> None:
        super().set_weights({name: array + np.float32(0) for name, array in weights.items()})


class HandsOutItsOwnArrays(NumpyBackend):
    def weights(self) -> Weights:
        return dict(self.parameters)

    def step(self, gradients: Weights) -> None:
        before = dict(self.parameters)
        super().step(gradients)
        for name, array in before.items():
            array[...] = self.parameters[name]
        self.parameters = before


class GradientOfRank1Dropped(NumpyBackend):
    def mean(self, value: Any) -> Any:
        if self.placement.rank == 1 and isinstance(value, np.ndarray):
            value = np.zeros_like(value)
        return super().mean(value)


class GradientsSummed(NumpyBackend):
    def mean(self, value: Any) -> Any:
        return super().mean(value) * self.placement.world_size


class GradientsNotExchanged(NumpyBackend):
    def mean(self, value: Any) -> Any:
        return value if isinstance(value, np.ndarray) else super().mean(value)


class SamplesShiftedByOne(NumpyBackend):
    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        return super().train(indices - 1, rates)


class StepsShiftedByOne(NumpyBackend):
    """Each call takes its rows in the order 1, 2, ..., 0."""

    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        return super().train(np.roll(indices, -1, axis=0), rates)


class LossAfterTheUpdate(NumpyBackend):
    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        images, labels = self.train_set
        losses = []
        for batch in indices:
            super().train(batch[np.newaxis])
            found = reference.loss_and_gradients(
                self.spec, self.parameters, images[batch], labels[batch]
            )
            losses.append(found[0])
        return np.array(losses, np.float32)


class EpsilonHat(NumpyBackend):
    """The other form of the paper (end of section 2), which Keras has."""

    def update(self, m: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
        beta1, beta2 = self.program.beta1, self.program.beta2
        root = np.sqrt(1 - beta2**self.t) / (1 - beta1**self.t)
        return root * m / (np.sqrt(v) + self.program.epsilon)


class BetasOfItsOwn(NumpyBackend):
    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, replace(program, beta1=0.9, beta2=0.999))


class StateNotRestored(NumpyBackend):
    """The step is kept for reading back, and Adam counts on by itself."""

    def set_optimizer_state(self, state: OptimizerState) -> None:
        steps = getattr(self, "steps", 0)
        super().set_optimizer_state(state)
        self.offset, self.steps = state.step - steps, steps

    def update(self, m: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
        told = self.t
        self.t -= self.offset
        self.steps = self.t
        change = super().update(m, v)
        self.t = told
        return change


class MomentsNotRestored(NumpyBackend):
    def set_optimizer_state(self, state: OptimizerState) -> None:
        zero = OptimizerState.zero(self.spec)
        super().set_optimizer_state(replace(zero, step=state.step))


class FirstStepOfASpanLost(NumpyBackend):
    """The first step of a call of more than five changes nothing."""

    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        if len(indices) <= 5:
            return super().train(indices, rates)
        kept = self.weights(), self.optimizer_state()
        first = super().train(indices[:1])
        self.set_weights(kept[0])
        self.set_optimizer_state(kept[1])
        return np.concatenate([first, super().train(indices[1:])])


class PaddedSampleCounted(NumpyBackend):
    """Ranges are filled up to multiples of 2 with the last sample."""

    def evaluate(self, start: int, stop: int) -> Evaluation:
        found = super().evaluate(start, stop)
        if (stop - start) % 2 == 0:
            return found
        extra = super().evaluate(stop - 1, stop)
        return replace(
            found,
            correct=found.correct + extra.correct,
            loss_sum=found.loss_sum + extra.loss_sum,
        )


class DataConvertedAgain(NumpyBackend):
    """Each rebuild converts the layout of images that are converted already."""

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)
        if hasattr(self, "train_set"):
            images, labels = self.train_set
            self.train_set = images.swapaxes(2, 3), labels


class MomentsOfTheOldModel(NumpyBackend):
    """Adam of a model built again goes on with the moments before, whatever it is given."""

    left = None

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)
        if hasattr(self, "v"):
            self.left = self.v

    def set_optimizer_state(self, state: OptimizerState) -> None:
        super().set_optimizer_state(state)
        if self.left is not None:
            self.v = {name: array.copy() for name, array in self.left.items()}


class EvaluatesTheOldModel(NumpyBackend):
    """The compiled evaluation holds the variables of the model that it was compiled for."""

    old: Weights | None = None

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)
        if hasattr(self, "parameters"):
            self.old = self.old or self.weights()

    def evaluate(self, start: int, stop: int) -> Evaluation:
        self.parameters, current = self.old or self.parameters, self.parameters
        try:
            return super().evaluate(start, stop)
        finally:
            self.parameters = current


class BatchOfTheOldProgram(NumpyBackend):
    """Gradients divided by the first program's batch, as if it were compiled into the step."""

    first: int | None = None

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)
        self.first = self.first or program.local_batch

    def averaged(self, gradients: dict[str, NDArray[np.float64]]) -> Weights:
        share = self.program.local_batch / self.first
        return super().averaged({name: share * g for name, g in gradients.items()})


class ExchangesAlways(NumpyBackend):
    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, replace(program, exchange=True))


class ExchangesAndThrowsAway(NumpyBackend):
    """Right results, but what the exchange costs cannot be measured with it."""

    def averaged(self, gradients: dict[str, NDArray[np.float64]]) -> Weights:
        if not self.program.exchange:
            self.mean(np.concatenate([g.ravel() for g in gradients.values()], dtype="f4"))
        return super().averaged(gradients)


class PrecisionIgnored(NumpyBackend):
    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, replace(program, precision="fp32"))


class PrecisionKept(NumpyBackend):
    """A switch that is turned on, and never off again."""

    def build(self, spec: Any, program: Any) -> None:
        kept = program.precision if not hasattr(self, "program") else self.program.precision
        precision = kept if program.precision == "fp32" else program.precision
        super().build(spec, replace(program, precision=precision))


class EvaluatesRounded(NumpyBackend):
    def evaluate(self, start: int, stop: int) -> Evaluation:
        with rounded_products.products(self.program.precision):
            return super().evaluate(start, stop)


class WeightsKeptRounded(NumpyBackend):
    """Weights are rounded as they are stored, and not as operands alone."""

    def step(self, gradients: Weights) -> None:
        super().step(gradients)
        if self.program.precision == "bf16":
            for name, array in self.parameters.items():
                self.parameters[name] = rounded_products.rounded(array, 8).astype(np.float32)


class Tf32WithBf16(NumpyBackend):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "tf32": self.program.precision == "bf16"}


class PrecisionOfItsOwn(NumpyBackend):
    precisions = ("fp32", "fp8")


class BarrierThatDoesNotWait(NumpyBackend):
    def barrier(self) -> None:
        pass


class AveragesInPlace(NumpyBackend):
    """What it is given is what it averages."""

    def averaging(self, values: NDArray[np.float32]) -> Averaging:
        def run() -> None:
            values[:] = self.mean(values)

        return Averaging(run, values.copy)


class AveragesNothing(NumpyBackend):
    """Each rank keeps its own: what is timed is no collective."""

    def averaging(self, values: NDArray[np.float32]) -> Averaging:
        return Averaging(lambda: None, values.copy)


class Tf32ClaimedOn(NumpyBackend):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "tf32": True}


class ThreadsNotObeyed(NumpyBackend):
    def __init__(self, placement: Placement) -> None:
        one_more = placement.threads + (placement.world_size == 1)
        super().__init__(replace(placement, threads=one_more))


class Version(str):
    """A framework's own type, as torch.__version__ is; reading it back would import it."""


class VersionOfAnAlienType(NumpyBackend):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "framework_version": Version("1")}


class TwoFrameworksImported(NumpyBackend):
    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        for name in ("torch", "jax"):
            sys.modules[name] = ModuleType(name)


class Talkative(NumpyBackend):
    def evaluate(self, start: int, stop: int) -> Evaluation:
        sys.stderr.write("evaluating\n")
        return super().evaluate(start, stop)


class NeverEnds(NumpyBackend):
    def close(self) -> None:
        super().close()
        threading.Thread(target=time.sleep, args=(600,)).start()


class Crashes(NumpyBackend):
    def evaluate(self, start: int, stop: int) -> Evaluation:
        raise RuntimeError("no evaluation today")


class RatesIgnored(NumpyBackend):
    """Every step has the program's rate."""

    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        return super().train(indices)


class DecaysTheGradient(NumpyBackend):
    """AdamW whose decay goes through the moments, as in Adam with an L2 penalty."""

    def adam(self, name: str, g: NDArray[np.float32]) -> NDArray[Any]:
        program = self.program
        if program.rule == "adamw":
            g = g + program.weight_decay * self.parameters[name]
            self.program = replace(program, rule="adam")
        change = super().adam(name, g)
        self.program = program
        return change


class LooksNowhere(NumpyBackend):
    """Nesterov's momentum is common momentum."""

    def descent(self, name: str, g: NDArray[np.float32]) -> NDArray[Any]:
        self.program = replace(self.program, nesterov=False)
        return super().descent(name, g)


class VelocityForNothing(NumpyBackend):
    """A velocity is kept where there is no momentum."""

    def descent(self, name: str, g: NDArray[np.float32]) -> NDArray[Any]:
        change = super().descent(name, g)
        self.m[name] = np.asarray(change, np.float32)
        return change


class RunningStatisticsOfItsOwn(NumpyBackend):
    """Each rank keeps its own."""

    def meet_running(self) -> None:
        pass


class VarianceOfASample(NumpyBackend):
    """Running variances are divided by n, as batch ones are."""

    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        losses = []
        for step, row in enumerate(indices):
            before = copy(self.parameters)
            mine = None if rates is None else rates[step : step + 1]
            losses.append(super().train(row[np.newaxis], mine))
            for layer, shape in self.spec.along():
                if not isinstance(layer, BatchNorm):
                    continue
                for name in list(layer.buffers)[1:]:
                    n = len(row) * int(np.prod(shape[1:]))
                    moved = self.parameters[name] - before[name] * (1 - layer.momentum)
                    self.parameters[name] = self.parameters[name] - moved / n
        return np.concatenate(losses)


class GeluByTanh(NumpyBackend):
    """The approximation of Hendrycks and Gimpel (2016)."""

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)

        def erf(x: Any) -> Any:
            return np.tanh(np.sqrt(2 / np.pi) * (x * 2**0.5 + 0.044715 * (x * 2**0.5) ** 3))

        pointwise._erf = erf


class RefusesGroups(NumpyBackend):
    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)
        if any(getattr(layer, "groups", 1) > 1 for layer in spec.all_layers):
            raise DistlabError("a model", "it knows no groups", "groups: 1")

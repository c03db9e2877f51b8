"""The TensorFlow backend, sound and broken on purpose in one place each."""

from collections.abc import Sequence
from dataclasses import replace

import faults
import tensorflow as tf

from distlab.backends.tensorflow.backend import TensorFlowBackend


class Sound(TensorFlowBackend):
    pass


class Transposed(faults.Transposed, TensorFlowBackend):
    pass


class GradientOfRank1Dropped(TensorFlowBackend):
    def _average(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        if self._placement.rank == 1:
            gradients = [tf.zeros_like(gradient) for gradient in gradients]
        return super()._average(gradients)


class GradientsNotExchanged(TensorFlowBackend):
    def _average(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        at_the_barrier = len(gradients) == 1
        return super()._average(gradients) if at_the_barrier else gradients


class PaddedSampleCounted(faults.PaddedSampleCounted, TensorFlowBackend):
    pass


class PaddedSampleHidden(faults.PaddedSampleHidden, TensorFlowBackend):
    pass


class OrderShiftedByOne(faults.OrderShiftedByOne, TensorFlowBackend):
    pass


class StepsCountedOn(faults.StepsCountedOn, TensorFlowBackend):
    pass


class ExchangesAlways(faults.ExchangesAlways, TensorFlowBackend):
    pass


class EpsilonHat(faults.EpsilonHat, TensorFlowBackend):
    def set_epsilon(self, epsilon: float) -> None:
        self._optimizer.program = replace(self._optimizer.program, epsilon=epsilon)

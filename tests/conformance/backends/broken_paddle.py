"""The Paddle backend, sound and broken on purpose in one place each."""

import faults
import paddle

from distlab.backends.paddle.backend import PaddleBackend


class Sound(PaddleBackend):
    pass


class Transposed(faults.Transposed, PaddleBackend):
    pass


class GradientOfRank1Dropped(PaddleBackend):
    def _average_gradients(self) -> None:
        if self._placement.rank == 1:
            for parameter in self._parameters.values():
                parameter.grad = paddle.zeros_like(parameter.grad)
        super()._average_gradients()


class GradientsNotExchanged(PaddleBackend):
    def _average_gradients(self) -> None:
        pass


class PaddedSampleCounted(faults.PaddedSampleCounted, PaddleBackend):
    pass


class PaddedSampleHidden(faults.PaddedSampleHidden, PaddleBackend):
    pass


class OrderShiftedByOne(faults.OrderShiftedByOne, PaddleBackend):
    pass


class StepsCountedOn(faults.StepsCountedOn, PaddleBackend):
    pass


class ExchangesAlways(faults.ExchangesAlways, PaddleBackend):
    pass


class EpsilonHat(faults.EpsilonHat, PaddleBackend):
    def set_epsilon(self, epsilon: float) -> None:
        self._optimizer.paddles._epsilon = epsilon

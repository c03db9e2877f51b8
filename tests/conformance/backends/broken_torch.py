"""The torch backend in eager execution, sound and broken on purpose in one place each."""

from dataclasses import replace
from typing import Any

import faults
import torch
from torch import Tensor
from torch.distributed import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.futures import Future

from distlab.backends.base import Placement
from distlab.backends.torch.backend import TorchBackend


class Sound(TorchBackend):
    pass


class Transposed(faults.Transposed, TorchBackend):
    pass


class Hooked(TorchBackend):
    """DistributedDataParallel exchanges gradients by ``hook``."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        self.rank = placement.rank

    def build(self, spec: Any, program: Any) -> None:
        super().build(spec, program)
        if self._world_size > 1 and program.exchange:
            self._execution._model.register_comm_hook(None, self.hook)

    def hook(self, state: None, bucket: GradBucket) -> Future[Tensor]:
        raise NotImplementedError


class GradientOfRank1Dropped(Hooked):
    def hook(self, state: None, bucket: GradBucket) -> Future[Tensor]:
        if self.rank == 1:
            bucket.buffer().zero_()
        return default_hooks.allreduce_hook(None, bucket)


class GradientsNotExchanged(Hooked):
    def hook(self, state: None, bucket: GradBucket) -> Future[Tensor]:
        done: Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done


class PaddedSampleCounted(faults.PaddedSampleCounted, TorchBackend):
    pass


class PaddedSampleHidden(faults.PaddedSampleHidden, TorchBackend):
    pass


class OrderShiftedByOne(faults.OrderShiftedByOne, TorchBackend):
    pass


class StepsCountedOn(faults.StepsCountedOn, TorchBackend):
    pass


class ExchangesAlways(faults.ExchangesAlways, TorchBackend):
    pass


class EpsilonHat(faults.EpsilonHat, TorchBackend):
    def set_epsilon(self, epsilon: float) -> None:
        optimizer = self._execution._optimizer
        optimizer.program = replace(optimizer.program, epsilon=epsilon)

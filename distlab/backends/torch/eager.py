"""How torch runs the steps eagerly: the model as torch's layers, through DDP.

torch's own Adam is Algorithm 1 of Kingma & Ba as it stands, so that ``optimizer.variant`` makes no
difference here. With peers, DistributedDataParallel exchanges
gradients while the backward pass is still under way (and loads the compiler by itself).

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from distlab.backends.base import Program
from distlab.backends.torch.exchange import average
from distlab.backends.torch.model import arrays, module
from distlab.backends.torch.optimizers.fused import Fused
from distlab.models.spec import ModelSpec


class Eager:
    """The module in DDP (where there are peers) and fused Adam, one kernel at a time.

    Attributes
    ----------
    parameters:
        The model's parameters by name: the live tensors, as those of ``moments`` are.
    running:
        Its running statistics by name, live too.
    products:
        The library that multiplies matrices on a CPU in training.
    tuned:
        What is done otherwise than in torch's tutorials, in words.
    """

    compiled_from_cache: bool | None = None
    cold_compile_s: float | None = None
    recorded_peak = 0

    def __init__(
        self, spec: ModelSpec, program: Program, device: torch.device, world_size: int
    ) -> None:
        self._module = module(spec).to(device)
        if device.type == "cpu":
            for parameter in self._module.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        held = arrays(self._module)
        self.parameters = {name: held[name] for name in spec.parameters}
        self.running = {name: held[name] for name in spec.buffers}
        self._exchange = world_size > 1 and program.exchange
        self._model: nn.Module = self._module
        if self._exchange:
            self._model = DistributedDataParallel(
                self._module,
                device_ids=[0] if device.type == "cuda" else None,
                forward_sync_buffers=False,  # they are averaged, at the end of a span
                gradient_as_bucket_view=True,
                static_graph=True,
            )
        self._optimizer = Fused(list(self.parameters.values()), program)
        self._bf16 = program.precision == "bf16"
        self.products = "mkl"
        self.tuned = [f"{self._optimizer.called} as one fused call"]
        if self._model is not self._module:
            self.tuned.append("DistributedDataParallel with bucket views and a static graph")
        if device.type == "cpu":
            self.tuned.append("convolution weights in channels-last layout")

    @property
    def moments(self) -> tuple[dict[str, Tensor], ...]:
        """The optimizer's moments by parameter name, as many as there are."""
        return tuple(
            dict(zip(self.parameters, held, strict=True)) for held in self._optimizer.moments
        )

    @property
    def steps_taken(self) -> int:
        """How many steps were taken."""
        return self._optimizer.steps_taken

    @steps_taken.setter
    def steps_taken(self, steps: int) -> None:
        self._optimizer.steps_taken = steps

    def train(
        self, images: Tensor, labels: Tensor, batches: Tensor, rates: NDArray[np.float64]
    ) -> Tensor:
        """Run a step for each row of ``batches``, at its rate; return the local losses."""
        losses = torch.empty(len(batches), device=images.device)
        parameters = list(self.parameters.values())
        for step, (batch, rate) in enumerate(zip(batches, rates.tolist(), strict=True)):
            for parameter in parameters:
                parameter.grad = None
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bf16):
                outputs = self._model(images.index_select(0, batch))
            loss = functional.cross_entropy(outputs.float(), labels.index_select(0, batch))
            loss.backward()
            self._optimizer.step([p.grad for p in parameters if p.grad is not None], rate)
            losses[step] = loss.detach()
        if self._exchange:
            average(list(self.running.values()))
        return losses

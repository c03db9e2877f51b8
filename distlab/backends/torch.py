"""PyTorch behind the contract: DistributedDataParallel, gloo on CPU and NCCL on GPU."""

import os
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from distlab.backends.base import (
    Backend,
    Evaluation,
    LabelledImages,
    OptimizerState,
    Placement,
    Program,
    Weights,
)
from distlab.models.spec import Conv2D, Dense, Flatten, MaxPool2D, ModelSpec, ReLU

EVALUATION_BATCH = 1000


class TorchBackend(Backend):
    """PyTorch on one device: index batches from device memory, fused Adam, DDP bucket views."""

    framework = "torch"
    executions = ("eager",)

    def __init__(self, placement: Placement) -> None:
        """Join the group; see :meth:`distlab.backends.base.Backend.__init__`."""
        self._placement = placement
        torch.set_num_threads(placement.threads)
        torch.set_num_interop_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        if placement.device == "gpu":
            self._device = torch.device("cuda", 0)
            torch.cuda.set_device(self._device)
        else:
            self._device = torch.device("cpu")
        if placement.world_size > 1:
            host, port = placement.endpoints[0].rsplit(":", 1)
            os.environ.update(MASTER_ADDR=host, MASTER_PORT=port)
            dist.init_process_group(
                "nccl" if placement.device == "gpu" else "gloo",
                rank=placement.rank,
                world_size=placement.world_size,
                device_id=self._device if placement.device == "gpu" else None,
            )

    def describe(self) -> dict[str, Any]:
        """What is in use; see :meth:`distlab.backends.base.Backend.describe`."""
        on_gpu = self._device.type == "cuda"
        return {
            "framework_version": torch.__version__,
            "device_name": torch.cuda.get_device_name(self._device) if on_gpu else "cpu",
            "threads": torch.get_num_threads(),
            "inter_op_threads": torch.get_num_interop_threads(),
            "tf32": on_gpu
            and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
            "collectives": dist.get_backend() if dist.is_initialized() else "none",
            "cuda": torch.version.cuda if on_gpu else None,
        }

    def build(self, spec: ModelSpec, program: Program) -> None:
        """Make the module, wrap it in DDP where there are peers, and make Adam."""
        self._module = _module(spec).to(self._device)
        self._parameters: dict[str, nn.Parameter] = {
            name: self._module.get_parameter(name) for name in spec.parameters
        }
        self._dense = {layer.name for layer in spec.layers if isinstance(layer, Dense)}
        self._program = program
        self._model: nn.Module = self._module
        if self._placement.world_size > 1:
            self._model = DistributedDataParallel(
                self._module,
                device_ids=[0] if self._device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                static_graph=True,
            )
        self._optimizer = torch.optim.Adam(
            self._parameters.values(),
            lr=program.learning_rate,
            betas=(program.beta1, program.beta2),
            eps=program.epsilon,
            fused=True,
        )

    def load_data(
        self,
        train: LabelledImages,
        test: LabelledImages,
    ) -> None:
        """Put both sets on the device; on CPU the ranks of a node share the arrays' memory."""
        self._train = tuple(torch.from_numpy(array).to(self._device) for array in train)
        self._test = tuple(torch.from_numpy(array).to(self._device) for array in test)

    def set_weights(self, weights: Weights) -> None:
        """Copy the canonical arrays into the parameters (dense weights are ``[out, in]`` here)."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._native(name, weights[name]))

    def weights(self) -> Weights:
        """Copy the parameters out in the canonical layout."""
        return {name: self._canonical(name, p) for name, p in self._parameters.items()}

    def set_optimizer_state(self, state: OptimizerState) -> None:
        """Set Adam's step and moments."""
        for name, parameter in self._parameters.items():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step), device=self._device),
                "exp_avg": self._native(name, state.first_moment[name]).clone(),
                "exp_avg_sq": self._native(name, state.second_moment[name]).clone(),
            }

    def optimizer_state(self) -> OptimizerState:
        """Adam's step and moments as canonical arrays."""
        state = {name: self._optimizer.state[p] for name, p in self._parameters.items()}
        return OptimizerState(
            step=int(next(iter(state.values()))["step"]),
            first_moment={name: self._canonical(name, s["exp_avg"]) for name, s in state.items()},
            second_moment={
                name: self._canonical(name, s["exp_avg_sq"]) for name, s in state.items()
            },
        )

    def train(self, indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run a span of steps; see :meth:`distlab.backends.base.Backend.train`."""
        images, labels = self._train
        losses = torch.empty(len(indices), device=self._device)
        for step, batch in enumerate(torch.from_numpy(indices).to(self._device)):
            self._optimizer.zero_grad(set_to_none=True)
            logits = self._model(images.index_select(0, batch))
            loss = functional.cross_entropy(logits, labels.index_select(0, batch))
            loss.backward()
            self._optimizer.step()
            losses[step] = loss.detach()
        return losses.cpu().numpy()

    @torch.inference_mode()
    def evaluate(self, start: int, stop: int) -> Evaluation:
        """Evaluate test samples ``start`` to ``stop - 1`` without communication."""
        images, labels = self._test
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        samples = 0
        for begin in range(start, stop, EVALUATION_BATCH):
            part = slice(begin, min(begin + EVALUATION_BATCH, stop))
            logits = self._module(images[part])
            losses = functional.cross_entropy(logits, labels[part], reduction="none")
            correct += (logits.argmax(1) == labels[part]).sum()
            loss_sum += losses.double().sum()
            samples += len(logits)
        return Evaluation(samples, int(correct), float(loss_sum))

    def barrier(self) -> None:
        """Wait for the device, then for all ranks."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        if dist.is_initialized():
            dist.barrier()

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()

    def _native(self, name: str, array: NDArray[np.float32]) -> Tensor:
        """A canonical array as a tensor in torch's layout, on the device."""
        tensor = torch.tensor(array, device=self._device)
        return tensor.T.contiguous() if self._is_dense_weight(name) else tensor

    def _canonical(self, name: str, tensor: Tensor) -> NDArray[np.float32]:
        """A copy of a tensor as a canonical array."""
        tensor = tensor.detach()
        if self._is_dense_weight(name):
            tensor = tensor.T
        return np.array(tensor.cpu().numpy(), order="C")

    def _is_dense_weight(self, name: str) -> bool:
        layer, kind = name.split(".")
        return layer in self._dense and kind == "weight"


def _module(spec: ModelSpec) -> nn.Sequential:
    """The spec as torch layers, named so that parameters bear the spec's names."""
    module = nn.Sequential()
    for position, layer in enumerate(spec.layers):
        match layer:
            case Dense(name=name, inputs=inputs, outputs=outputs):
                module.add_module(name, nn.Linear(inputs, outputs))
            case Conv2D():
                convolution = nn.Conv2d(
                    layer.in_channels, layer.out_channels, layer.kernel, padding=layer.padding
                )
                module.add_module(layer.name, convolution)
            case ReLU():
                module.add_module(f"relu{position}", nn.ReLU())
            case MaxPool2D(size=size):
                module.add_module(f"pool{position}", nn.MaxPool2d(size))
            case Flatten():
                module.add_module(f"flatten{position}", nn.Flatten())
    return module

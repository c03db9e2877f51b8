"""PyTorch behind the contract: gloo on CPU, NCCL on GPU.

``execution=eager`` is how PyTorch is written by most: ``nn.Module``, DistributedDataParallel with
gradients as bucket views, fused Adam. ``execution=graph`` compiles the step with ``torch.compile``:
all parameters live in one flat tensor, so that forward, backward and Adam become one compiled
function, or, with peers, two with a single all-reduce of the flat gradient between them.
"""

import math
import os
import shutil
from typing import Any, Protocol

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
from distlab.errors import DistlabError
from distlab.models.spec import Conv2D, Dense, Flatten, MaxPool2D, ModelSpec, ReLU

EVALUATION_BATCH = 1000


class _Execution(Protocol):
    """One way to run the steps; tensors by parameter name, in torch's layout, are its state."""

    steps_taken: int
    parameters: dict[str, Tensor]
    first_moment: dict[str, Tensor]
    second_moment: dict[str, Tensor]

    def train(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Run a step for each row of ``batches``; return the local losses."""


class TorchBackend(Backend):
    """PyTorch on one device, with batches gathered by index from device memory."""

    framework = "torch"
    executions = ("eager", "graph")

    def __init__(self, placement: Placement) -> None:
        """Join the group; see :meth:`distlab.backends.base.Backend.__init__`."""
        self._world_size = placement.world_size
        torch.set_num_threads(placement.threads)
        torch.set_num_interop_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        on_gpu = placement.device == "gpu"
        self._device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(self._device)
        if placement.world_size > 1:
            host, port = placement.endpoints[0].rsplit(":", 1)
            os.environ.update(MASTER_ADDR=host, MASTER_PORT=port)
            dist.init_process_group(
                "nccl" if on_gpu else "gloo",
                rank=placement.rank,
                world_size=placement.world_size,
                device_id=self._device if on_gpu else None,
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
        """Make the model and Adam for the execution asked for."""
        self._spec = spec
        if program.execution == "eager":
            self._execution: _Execution = _Eager(spec, program, self._device, self._world_size)
        elif program.optimizer == "stock":
            raise DistlabError(
                "optimizer.variant=stock execution=graph with framework=torch",
                "the compiled step holds the contract's own Adam",
                "optimizer.variant=stock execution=eager\nor optimizer.variant=reference",
            )
        else:
            self._execution = _Graph(spec, program, self._device, self._world_size)

    def load_data(self, train: LabelledImages, test: LabelledImages) -> None:
        """Put both sets on the device; on CPU the ranks of a node share the arrays' memory."""
        self._train = self._on_device(train)
        self._test = self._on_device(test)

    def set_weights(self, weights: Weights) -> None:
        """Copy the canonical arrays in (torch holds dense weights as ``[out, in]``)."""
        self._set(self._execution.parameters, weights)

    def weights(self) -> Weights:
        """Copy the parameters out in the canonical layout."""
        return self._get(self._execution.parameters)

    def set_optimizer_state(self, state: OptimizerState) -> None:
        """Set Adam's step and moments."""
        self._execution.steps_taken = state.step
        self._set(self._execution.first_moment, state.first_moment)
        self._set(self._execution.second_moment, state.second_moment)

    def optimizer_state(self) -> OptimizerState:
        """Adam's step and moments as canonical arrays."""
        return OptimizerState(
            self._execution.steps_taken,
            self._get(self._execution.first_moment),
            self._get(self._execution.second_moment),
        )

    def train(self, indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run a span of steps; see :meth:`distlab.backends.base.Backend.train`."""
        batches = torch.from_numpy(indices).to(self._device)
        return self._execution.train(*self._train, batches).cpu().numpy()

    @torch.inference_mode()
    def evaluate(self, start: int, stop: int) -> Evaluation:
        """Evaluate test samples ``start`` to ``stop - 1`` without communication."""
        images, labels = self._test
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        samples = 0
        for begin in range(start, stop, EVALUATION_BATCH):
            part = slice(begin, min(begin + EVALUATION_BATCH, stop))
            logits = _logits(self._spec, self._execution.parameters, images[part])
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

    def _on_device(self, data: LabelledImages) -> tuple[Tensor, Tensor]:
        images, labels = (torch.from_numpy(array).to(self._device) for array in data)
        return images, labels

    @torch.no_grad()
    def _set(self, tensors: dict[str, Tensor], arrays: Weights) -> None:
        for name, tensor in tensors.items():
            array = torch.tensor(arrays[name])
            tensor.copy_(array.T if _is_dense_weight(name, array) else array)

    @torch.no_grad()
    def _get(self, tensors: dict[str, Tensor]) -> Weights:
        return {
            name: np.array((t.T if _is_dense_weight(name, t) else t).cpu().numpy(), order="C")
            for name, t in tensors.items()
        }


class _Eager:
    """The module in DDP (where there are peers) and fused Adam, one kernel at a time."""

    def __init__(
        self, spec: ModelSpec, program: Program, device: torch.device, world_size: int
    ) -> None:
        module = _module(spec).to(device)
        self.parameters = {name: module.get_parameter(name) for name in spec.parameters}
        self._model: nn.Module = module
        if world_size > 1:
            self._model = DistributedDataParallel(
                module,
                device_ids=[0] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                static_graph=True,
            )
        self._optimizer = torch.optim.Adam(
            self.parameters.values(),
            lr=program.learning_rate,
            betas=(program.beta1, program.beta2),
            eps=program.epsilon,
            fused=True,
        )
        self.first_moment = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.second_moment = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            self._optimizer.state[parameter] = {
                "step": torch.zeros((), device=device),
                "exp_avg": self.first_moment[name],
                "exp_avg_sq": self.second_moment[name],
            }

    @property
    def steps_taken(self) -> int:
        """Adam's step."""
        return int(next(iter(self._optimizer.state.values()))["step"])

    @steps_taken.setter
    def steps_taken(self, steps: int) -> None:
        for state in self._optimizer.state.values():
            state["step"].fill_(steps)

    def train(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Run a step for each row of ``batches``; return the local losses."""
        losses = torch.empty(len(batches), device=images.device)
        for step, batch in enumerate(batches):
            self._optimizer.zero_grad(set_to_none=True)
            logits = self._model(images.index_select(0, batch))
            loss = functional.cross_entropy(logits, labels.index_select(0, batch))
            loss.backward()
            self._optimizer.step()
            losses[step] = loss.detach()
        return losses


class _Graph:
    """Forward, backward and Adam on one flat tensor of all parameters, compiled."""

    def __init__(
        self, spec: ModelSpec, program: Program, device: torch.device, world_size: int
    ) -> None:
        if device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
            raise DistlabError(
                "execution=graph with framework=torch device=cpu",
                "torch.compile needs a C++ compiler on CPU and there is no g++",
                "install g++ (apt-get install g++)\nor execution=eager",
            )
        self._program, self._world_size = program, world_size
        self.steps_taken = 0
        shapes = {
            name: shape[::-1] if len(shape) == 2 else shape
            for name, shape in spec.parameters.items()
        }
        flat = [torch.zeros(spec.parameter_count, device=device) for _ in range(3)]
        self._weights, self._first, self._second = flat
        self.parameters, self.first_moment, self.second_moment = (
            _views(tensor, shapes) for tensor in flat
        )
        beta1, beta2, epsilon = program.beta1, program.beta2, program.epsilon

        def loss_of(weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
            logits = _logits(spec, _views(weights, shapes), images)
            return functional.cross_entropy(logits, labels)

        def gradient(
            weights: Tensor, images: Tensor, labels: Tensor, batch: Tensor
        ) -> tuple[Tensor, Tensor]:
            x, y = images.index_select(0, batch), labels.index_select(0, batch)
            slope, value = torch.func.grad_and_value(loss_of)(weights, x, y)
            return value, slope / world_size

        def adam(
            weights: Tensor, first: Tensor, second: Tensor, slope: Tensor, scales: Tensor
        ) -> None:
            first.mul_(beta1).add_(slope, alpha=1 - beta1)
            second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
            weights.sub_(scales[0] * first / (second.sqrt() * scales[1] + epsilon))

        def step(
            weights: Tensor,
            first: Tensor,
            second: Tensor,
            images: Tensor,
            labels: Tensor,
            batch: Tensor,
            scales: Tensor,
        ) -> Tensor:
            value, slope = gradient(weights, images, labels, batch)
            adam(weights, first, second, slope, scales)
            return value

        self._step = torch.compile(step, fullgraph=True, dynamic=False)
        self._gradient = torch.compile(gradient, fullgraph=True, dynamic=False)
        self._adam = torch.compile(adam, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def train(self, images: Tensor, labels: Tensor, batches: Tensor) -> Tensor:
        """Run a step for each row of ``batches``; return the local losses."""
        losses = torch.empty(len(batches), device=images.device)
        scales = self._scales(len(batches)).to(images.device)
        state = (self._weights, self._first, self._second)
        for step, batch in enumerate(batches):
            if self._world_size == 1:
                losses[step] = self._step(*state, images, labels, batch, scales[step])
            else:
                losses[step], slope = self._gradient(self._weights, images, labels, batch)
                dist.all_reduce(slope)
                self._adam(*state, slope, scales[step])
        self.steps_taken += len(batches)
        return losses

    def _scales(self, steps: int) -> Tensor:
        """Each step's learning_rate / (1 - beta1^t) and 1 / sqrt(1 - beta2^t), from float64."""
        t = np.arange(self.steps_taken + 1, self.steps_taken + steps + 1, dtype=np.float64)
        first = self._program.learning_rate / (1 - self._program.beta1**t)
        second = 1 / np.sqrt(1 - self._program.beta2**t)
        return torch.from_numpy(np.stack([first, second], axis=1).astype(np.float32))


def _views(flat: Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The parts of a flat tensor as tensors of the given shapes."""
    parts = flat.split([math.prod(shape) for shape in shapes.values()])
    return {
        name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _is_dense_weight(name: str, tensor: Tensor) -> bool:
    return name.endswith(".weight") and tensor.dim() == 2


def _logits(spec: ModelSpec, parameters: dict[str, Tensor], images: Tensor) -> Tensor:
    """The model as a function of its parameters, which are in torch's layout."""
    x = images
    for layer in spec.layers:
        match layer:
            case Dense(name=name):
                x = functional.linear(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"])
            case Conv2D(name=name, padding=padding):
                weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
                x = functional.conv2d(x, weight, bias, padding=padding)
            case ReLU():
                x = functional.relu(x)
            case MaxPool2D(size=size):
                x = functional.max_pool2d(x, size)
            case Flatten():
                x = x.flatten(1)
    return x


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

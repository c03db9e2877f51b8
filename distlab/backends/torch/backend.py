"""PyTorch behind the contract: gloo on CPU, NCCL on GPU.

``execution=eager`` is how PyTorch is written by most: ``nn.Module``, DistributedDataParallel with
gradients as bucket views, a fused optimizer. ``execution=graph`` compiles the step: forward,
backward and optimizer become one function, or, with peers, two with a single all-reduce of all
gradients between them (:mod:`distlab.backends.torch.graph`).
"""

import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from distlab.backends.base import (
    MOMENTS,
    Averaging,
    Backend,
    Evaluation,
    LabelledImages,
    OptimizerState,
    Placement,
    Program,
    Weights,
)
from distlab.backends.common.malloc import keep_freed_memory
from distlab.backends.torch.eager import Eager
from distlab.backends.torch.exchange import averaging
from distlab.backends.torch.graph import Graph
from distlab.backends.torch.model import logits, module
from distlab.backends.torch.step import is_dense_weight
from distlab.errors import DistlabError
from distlab.machine.ceiling import Multiply, device_rate
from distlab.machine.devices import driver
from distlab.models.spec import ModelSpec

EVALUATION_BATCH = 100

Product = Callable[[Tensor, Tensor], Tensor]


class TorchBackend(Backend):
    """PyTorch on one device, with batches gathered by index from device memory."""

    framework = "torch"
    executions = ("eager", "graph")
    precisions = ("fp32", "tf32", "bf16")
    optimizers = ("adam", "adamw", "sgd")

    def __init__(self, placement: Placement) -> None:
        """Join the group; see :meth:`distlab.backends.base.Backend.__init__`."""
        on_gpu = placement.device == "gpu"
        if on_gpu and not torch.cuda.is_available():
            raise DistlabError(
                "framework=torch on device=gpu",
                f"PyTorch {torch.__version__} sees no GPU in this process; it was built for CUDA "
                f"{torch.version.cuda or '(none: a CPU build)'}, {driver.told()}",
                "install a CUDA build of torch that this driver can run (a build for CUDA 13 needs "
                "driver 580 or newer): pip install torch --index-url "
                "https://download.pytorch.org/whl/cu126\n"
                "or run on the CPU: device=cpu",
            )
        self._world_size = placement.world_size
        torch.set_num_threads(placement.threads)
        torch.set_num_interop_threads(1)
        self._device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(self._device)
            torch.backends.cudnn.benchmark = not placement.deterministic  # see docs/fairness.md
            torch.backends.cudnn.deterministic = placement.deterministic
            # Else each rank starts up to 32 processes that compile; read at Inductor's import.
            os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        else:
            keep_freed_memory()
        if placement.world_size > 1:
            if placement.folder:
                where = f"file://{placement.folder}/torch"
            else:
                host, port = placement.endpoints[0].rsplit(":", 1)
                os.environ.update(MASTER_ADDR=host, MASTER_PORT=port)
                where = "env://"
            dist.init_process_group(
                "nccl" if on_gpu else "gloo",
                init_method=where,
                rank=placement.rank,
                world_size=placement.world_size,
                device_id=self._device if on_gpu else None,
            )

    def describe(self) -> dict[str, Any]:
        """What is in use; see :meth:`distlab.backends.base.Backend.describe`."""
        on_gpu = self._device.type == "cuda"
        return {
            "framework_version": str(torch.__version__),
            "device_name": torch.cuda.get_device_name(self._device) if on_gpu else "cpu",
            "threads": torch.get_num_threads(),
            "inter_op_threads": torch.get_num_interop_threads(),
            "tf32": on_gpu
            and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
            "collectives": dist.get_backend() if dist.is_initialized() else "none",
            "cuda": torch.version.cuda if on_gpu else None,
            "products": "cublas" if on_gpu else self._execution.products,
            "tuned": [
                *self._execution.tuned,
                "cuDNN's algorithms chosen by timing them"
                if on_gpu
                else "freed memory stays with the process (mallopt)",
            ],
            "compiled_from_cache": self._execution.compiled_from_cache,
            "cold_compile_s": self._execution.cold_compile_s,
        }

    def build(self, spec: ModelSpec, program: Program) -> None:
        """Make the model and the optimizer for the execution asked for."""
        vars(self).pop("_execution", None)  # the old model goes before the new one comes
        self._spec, self._program = spec, program
        with torch.device("meta"):
            module(spec)  # says at once, not from within a compiler, if a layer is unknown
        torch.backends.cuda.matmul.allow_tf32 = program.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = program.precision == "tf32"
        # Sums stay float32 where a product is split among a GPU's cores (not yet run on a GPU).
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self._precision = program.precision
        execution = Eager if program.execution == "eager" else Graph
        self._execution: Eager | Graph = execution(spec, program, self._device, self._world_size)

    def load_data(self, train: LabelledImages, test: LabelledImages) -> None:
        """Put both sets on the device; on CPU the ranks of a node share the arrays' memory."""
        self._train = self._on_device(train)
        self._test = self._on_device(test)

    def set_weights(self, weights: Weights) -> None:
        """Copy the canonical arrays in (torch holds dense weights as ``[out, in]``)."""
        self._set(self._arrays, weights)

    def weights(self) -> Weights:
        """Copy parameters and running statistics out in the canonical layout."""
        return self._get(self._arrays)

    @property
    def _arrays(self) -> dict[str, Tensor]:
        """The live parameters and running statistics by name."""
        return {**self._execution.parameters, **self._execution.running}

    def set_optimizer_state(self, state: OptimizerState) -> None:
        """Set the step and the moments that the optimizer has."""
        self._execution.steps_taken = state.step
        for tensors, moment in zip(self._execution.moments, MOMENTS, strict=False):
            self._set(tensors, getattr(state, moment))

    def optimizer_state(self) -> OptimizerState:
        """Step and moments as canonical arrays."""
        found: list[dict[str, Tensor]] = [*self._execution.moments, {}, {}]
        return OptimizerState(self._execution.steps_taken, *map(self._get, found[:2]))

    def train(
        self, indices: NDArray[np.int32], rates: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Run a span of steps; see :meth:`distlab.backends.base.Backend.train`."""
        rates = self._program.rates(len(indices)) if rates is None else rates
        batches = torch.from_numpy(indices).to(self._device)
        return self._execution.train(*self._train, batches, rates).cpu().numpy()

    @torch.inference_mode()
    def evaluate(self, start: int, stop: int) -> Evaluation:
        """Evaluate test samples ``start`` to ``stop - 1`` without communication."""
        images, labels = self._test
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        samples, arrays = 0, self._arrays
        for begin in range(start, stop, EVALUATION_BATCH):
            part = slice(begin, min(begin + EVALUATION_BATCH, stop))
            outputs = logits(self._spec, arrays, images[part])
            losses = functional.cross_entropy(outputs, labels[part], reduction="none")
            correct += (outputs.argmax(1) == labels[part]).sum()
            loss_sum += losses.double().sum()
            samples += len(outputs)
        return Evaluation(samples, int(correct), float(loss_sum))

    def barrier(self) -> None:
        """Wait for the device, then for all ranks."""
        self._wait()
        if dist.is_initialized():
            dist.barrier()

    def _wait(self, _: object = None) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Leave the process group."""
        vars(self).pop("_execution", None)  # a CUDA graph holds on to NCCL's communicator
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()

    @classmethod
    def gpus_seen(cls) -> int | None:
        """See the base class."""
        return torch.cuda.device_count()

    def matrix_product_rates(self) -> dict[str, float]:
        """See :meth:`distlab.backends.base.Backend.matrix_product_rates`."""
        libraries: dict[str, Product] = {"torch": torch.mm}
        if self._device.type == "cpu" and torch.backends.mkldnn.is_available():
            libraries["torch's oneDNN"] = _by_onednn
        dtype = torch.bfloat16 if self._precision == "bf16" else torch.float32
        kind = "cpu" if self._device.type == "cpu" else "gpu"
        return {
            name: device_rate(kind, partial(_multiply, product, self._device, dtype), self._wait)
            for name, product in libraries.items()
        }

    def peak_device_memory(self) -> int | None:
        """On a GPU (not yet run on one); see :meth:`Backend.peak_device_memory`."""
        if self._device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        # A recorded step takes no memory when it runs, but holds what it took when recorded.
        return max(peak, self._execution.recorded_peak)

    def averaging(self, values: NDArray[np.float32]) -> Averaging:
        """See :meth:`distlab.backends.base.Backend.averaging`."""
        return averaging(values, self._device)

    def _on_device(self, data: LabelledImages) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            # The arrays are read-only, and only read.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            images, labels = (torch.from_numpy(array).to(self._device) for array in data)
        return images, labels

    @torch.no_grad()
    def _set(self, tensors: Mapping[str, Tensor], arrays: Weights) -> None:
        for name, tensor in tensors.items():
            array = torch.tensor(arrays[name])
            tensor.copy_(array.T if is_dense_weight(name, array.dim()) else array)

    @torch.no_grad()
    def _get(self, tensors: Mapping[str, Tensor]) -> Weights:
        return {
            name: np.array((t.T if is_dense_weight(name, t.dim()) else t).cpu().numpy(), order="C")
            for name, t in tensors.items()
        }


def _multiply(
    product: Product, device: torch.device, dtype: torch.dtype, array: NDArray[np.float32]
) -> Multiply:
    """What has the device multiply a matrix by itself."""
    matrix = torch.from_numpy(array).to(device, dtype)
    return lambda: product(matrix, matrix)


def _by_onednn(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b.t()`` by oneDNN."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(a, b, None, "none", [], "")
    return product

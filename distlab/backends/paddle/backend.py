"""PaddlePaddle: dynamic graphs (``eager``) or a loss traced into a static program (``graph``).

Layouts need no conversion: Paddle's dense weight is ``[inputs, outputs]``, its convolution weight
OIHW and its images NCHW.

What was chosen by measurement (Paddle 3.3 on a CPU; ``conf/framework/paddle.yaml`` has the
settings of the environment that go with it):

- ``paddle.addmm`` for a dense layer, ``paddle.gather`` for a batch and
  ``Adam(use_multi_tensor=True)`` cost the least per step.
- A max-pool that also returns where its maxima are has a backward pass of a twelfth of the time.
- A convolution's bias is added by broadcasting: ``conv2d``'s own bias argument is 1.5 times slower.
- ``graph`` traces forward pass and loss with ``paddle.jit.to_static``; its backward pass is a
  static program too. Gradient exchange and optimizer stay outside: Paddle cannot trace
  ``backward()`` or ``step()``, and a static program of the whole step, written by hand, was slower
  than ``eager``.
- Gradients are exchanged by one all-reduce of one flat array. ``paddle.DataParallel`` aborts the
  process (SIGABRT) when a peer dies, where this raises a RuntimeError.
"""

import contextlib
import ctypes
import io
import os
import socket
import time
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import (
    Averaging,
    Backend,
    Evaluation,
    LabelledImages,
    OptimizerState,
    Placement,
    Program,
    Weights,
)
from distlab.backends.paddle import device
from distlab.backends.paddle.addresses import check_own_name
from distlab.backends.paddle.importing import functional, paddle
from distlab.backends.paddle.model import function, mean_cross_entropy, through
from distlab.backends.paddle.optimizers import Optimizer
from distlab.backends.paddle.precision import set_tf32, tf32_in_effect
from distlab.errors import DistlabError
from distlab.models.layers import BatchNorm
from distlab.models.rewrite import pool_first
from distlab.models.spec import ModelSpec

EVALUATION_BATCH = 100
"""Test samples of one forward pass: bounds the memory, and changes no sum but by rounding."""


def _threads() -> int | None:
    """How many threads OpenMP gives Paddle's operations; None if Paddle was built without it.

    There may be several OpenMPs in a process: asked is the one that Paddle's own library calls.
    """
    library = ctypes.CDLL(paddle.base.libpaddle.__file__)
    asked = getattr(library, "omp_get_max_threads", None)
    return None if asked is None else int(asked())


def _shared(array: NDArray[Any]) -> Any:
    """A tensor that reads the array's memory and keeps it alive, by DLPack; never written to.

    An array that is not contiguous, or whose values are not aligned to their size, is copied.
    """
    array = np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])
    # Paddle compares the strides of axes of length 1, too, for which NumPy keeps any (0 of a new
    # axis), and would copy the whole tensor before each use: a reshape sets them.
    return paddle.from_dlpack(array.reshape(-1).reshape(array.shape))


class PaddleBackend(Backend):
    """PaddlePaddle, with gloo between CPUs and NCCL between GPUs.

    Its optimizers are Paddle's own (:mod:`distlab.backends.paddle.optimizers`).
    """

    framework = "paddle"
    _graph = False
    executions = ("eager", "graph")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "tf32", "bf16")
    optimizers: ClassVar[tuple[str, ...]] = ("adam", "adamw", "sgd")

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._gpu = placement.device == "gpu"
        self._told: list[str] = []
        if self._gpu:
            device.prepare(placement.deterministic)
        else:  # see build
            self.precisions = ("fp32",)  # type: ignore[misc]
        paddle.set_device("gpu:0" if self._gpu else "cpu")
        paddle.base.core.set_num_threads(placement.threads)  # OpenMP's and MKL's; no public name
        if placement.world_size > 1:
            if not self._gpu and len(set(placement.hosts)) > 1:
                check_own_name(placement.hosts[placement.rank])
            self._join()

    def _join(self) -> None:
        """Join the process group, which Paddle describes to itself through the environment."""
        rank, endpoints = self._placement.rank, self._placement.endpoints
        host, port = endpoints[0].rsplit(":", 1)
        os.environ.update(
            # Paddle prefers these, which a node's environment may hold, to what it calls its own.
            MASTER_ADDR=host,
            MASTER_PORT=port,
            PADDLE_TRAINER_ID=str(rank),
            PADDLE_TRAINERS_NUM=str(self._placement.world_size),
            PADDLE_CURRENT_ENDPOINT=endpoints[rank],
            PADDLE_TRAINER_ENDPOINTS=",".join(endpoints),
            PADDLE_MASTER=endpoints[0],
            PADDLE_DISTRI_BACKEND="nccl" if self._gpu else "gloo",
            FLAGS_selected_gpus="0",
        )
        if rank > 0:  # a rank that calls before rank 0 listens is put off for 3 seconds
            while True:
                try:
                    socket.create_connection((host, int(port)), timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.02)
        with contextlib.redirect_stderr(io.StringIO()):  # it lists the FLAGS_ that are set
            paddle.distributed.init_parallel_env()

    def describe(self) -> dict[str, Any]:
        """What is in use: see :meth:`Backend.describe`."""
        grouped = self._placement.world_size > 1
        return {
            "framework_version": paddle.__version__,
            "device_name": (
                paddle.device.cuda.get_device_name() if self._gpu else paddle.device.get_device()
            ),
            "threads": _threads(),
            "inter_op_threads": 1,
            "tf32": self._gpu and tf32_in_effect(),
            "collectives": paddle.distributed.get_backend().lower() if grouped else "none",
            "mkl_debug_cpu_type": os.environ.get("MKL_DEBUG_CPU_TYPE", ""),
            "tuned": self._tuned(),
            "compiled_from_cache": False if self._graph else None,
        }

    def _tuned(self) -> list[str]:
        """What is done otherwise than in Paddle's tutorials, in words."""
        said = [
            *self._told,
            "max-pooling that keeps its maxima's places",
        ]
        if self._placement.world_size > 1:
            said.append("one all-reduce of all gradients instead of DataParallel")
        if mkl := os.environ.get("MKL_DEBUG_CPU_TYPE"):
            said.append(f"MKL_DEBUG_CPU_TYPE={mkl}: fast instructions of its MKL on this processor")
        return said if self._gpu else [*said, "freed memory stays with the process (mallopt)"]

    def build(self, spec: ModelSpec, program: Program) -> None:
        """Make parameters, loss and optimizer."""
        dtype: Literal["bfloat16", "float32"]
        dtype = "bfloat16" if program.precision == "bf16" else "float32"
        if dtype == "bfloat16" and not self._gpu:
            raise DistlabError(
                "framework=paddle precision=bf16 on CPU workers",
                f"Paddle {paddle.__version__} has no bfloat16 kernel for products and convolutions "
                "in training on CPUs",
                "precision=fp32\nprecision=bf16 with framework=torch or framework=tf\n"
                "precision=bf16 on GPUs: device=gpu",
            )
        self._dtype = dtype
        if self._gpu:
            set_tf32(program.precision == "tf32")
        # Paddle keeps every program that it has run until it is told; there is no public name.
        paddle.base.core.clear_executor_cache()
        self._parameters: dict[str, Any] = {
            name: paddle.create_parameter(
                list(shape), "float32", default_initializer=paddle.nn.initializer.Constant(0.0)
            )
            for name, shape in spec.parameters.items()
        }
        self._sizes = [parameter.size for parameter in self._parameters.values()]
        self._running = {name: paddle.zeros(list(shape)) for name, shape in spec.buffers.items()}
        self._momenta = {
            name: layer.momentum
            for layer in spec.all_layers
            if isinstance(layer, BatchNorm)
            for name in layer.buffers
        }
        self._arrays = {**self._parameters, **self._running}
        layers = pool_first(spec.layers)
        self._layers = [function(layer, self._arrays) for layer in layers]
        self._found: dict[str, Any] = {}
        # Evaluation is float32 with bfloat16, too.
        self._training_layers = [
            function(layer, self._arrays, dtype, self._found) for layer in layers
        ]
        self._loss = self._mean_loss
        if program.execution == "graph":
            traced = paddle.jit.not_to_static(self._mean_loss)  # its source needs no rewriting

            def loss(images: Any, labels: Any) -> Any:
                return traced(images, labels)

            self._loss = paddle.jit.to_static(loss, full_graph=True, backend=None)
        self._graph = program.execution == "graph"
        self._exchange = program.exchange and self._placement.world_size > 1
        self._program = program
        self._optimizer = Optimizer(program, self._parameters)
        self._told = self._optimizer.told
        self.set_optimizer_state(OptimizerState.zero(spec, program.moments))

    def _logits(self, images: Any) -> Any:
        return through(self._layers, images)

    def _mean_loss(self, images: Any, labels: Any) -> Any:
        """The loss; where there are running statistics, a list: it, and the batch's own."""
        logits = through(self._training_layers, images)
        if logits.dtype != paddle.float32:
            logits = logits.astype("float32")
        loss = mean_cross_entropy(logits, labels)
        return [loss, *(self._found[name] for name in self._running)] if self._running else loss

    def load_data(self, train: LabelledImages, test: LabelledImages) -> None:
        """Copy both sets to the GPU; on a CPU use the arrays themselves."""
        place = paddle.to_tensor if self._gpu else _shared
        (self._images, self._labels), (self._test_images, self._test_labels) = (
            # cross_entropy wants labels [n, 1], and at every step adds the axis that is missing.
            (place(images), place(labels[:, np.newaxis]))
            for images, labels in (train, test)
        )

    def set_weights(self, weights: Weights) -> None:
        """Set every parameter."""
        for name, array in self._arrays.items():
            array.set_value(weights[name])

    def weights(self) -> Weights:
        """Every parameter and running statistic, as a copy."""
        return {name: value.numpy().copy() for name, value in self._arrays.items()}

    def set_optimizer_state(self, state: OptimizerState) -> None:
        """See :meth:`Backend.set_optimizer_state`."""
        self._optimizer.set(state)

    def optimizer_state(self) -> OptimizerState:
        """See :meth:`Backend.optimizer_state`."""
        return self._optimizer.get()

    def train(
        self, indices: NDArray[np.int32], rates: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """One step a row of ``indices``; the losses are fetched once, after the last."""
        if not len(indices):
            return np.empty(0, np.float32)
        rates = self._program.rates(len(indices)) if rates is None else rates
        images, labels, loss_of, take = self._images, self._labels, self._loss, self._optimizer.take
        losses = []
        batches = paddle.unbind(paddle.to_tensor(indices))
        for batch, rate in zip(batches, rates.tolist(), strict=True):
            loss = loss_of(paddle.gather(images, batch), paddle.gather(labels, batch))
            if self._running:
                loss, *found = loss
                self._move_running(found)
            loss.backward()
            if self._exchange:
                self._average_gradients()
            take(rate)
            losses.append(loss.detach())
        self._optimizer.step += len(indices)
        if self._exchange and self._running:
            self._average_running()
        result: NDArray[np.float32] = paddle.stack(losses).numpy()
        self._wait_for_device()
        return result

    def _average_gradients(self) -> None:
        """Replace each gradient by its mean over all ranks: the same bits on each."""
        parameters = self._parameters.values()
        flat = paddle.concat([parameter.grad.flatten() for parameter in parameters])
        paddle.distributed.all_reduce(flat)
        flat.scale_(1.0 / self._placement.world_size)  # gloo has no ReduceOp.AVG
        for parameter, gradient in zip(parameters, flat.split(self._sizes), strict=True):
            parameter.grad = gradient.reshape(parameter.shape)

    @paddle.no_grad()  # type: ignore[untyped-decorator]
    def _move_running(self, found: list[Any]) -> None:
        """Towards a batch's statistics."""
        for (name, running), batch in zip(self._running.items(), found, strict=True):
            running.add_((batch - running) * self._momenta[name])

    def _average_running(self) -> None:
        """Replace each running statistic by its mean over all ranks: the same bits on each."""
        running = self._running.values()
        flat = paddle.concat(list(running))
        paddle.distributed.all_reduce(flat)
        flat.scale_(1.0 / self._placement.world_size)
        for array, mean in zip(running, flat.split([one.size for one in running]), strict=True):
            array.set_value(mean)

    def evaluate(self, start: int, stop: int) -> Evaluation:
        """Forward passes over ``start`` to ``stop - 1``, not compiled in either execution."""
        correct, loss_sum = 0, 0.0
        with paddle.no_grad():
            for first in range(start, stop, EVALUATION_BATCH):
                batch = slice(first, min(first + EVALUATION_BATCH, stop))
                labels = self._test_labels[batch]
                logits = self._logits(self._test_images[batch])
                losses = functional.cross_entropy(logits, labels, reduction="none")
                correct += int((logits.argmax(1, keepdim=True) == labels).sum())
                loss_sum += float(losses.astype("float64").sum())
        return Evaluation(stop - start, correct, loss_sum)

    def _wait_for_device(self) -> None:
        if self._gpu:
            paddle.device.synchronize()

    def barrier(self) -> None:
        """Wait for the device, then for every rank."""
        self._wait_for_device()
        if self._placement.world_size > 1:
            paddle.distributed.barrier()

    def close(self) -> None:
        """Leave the process group; without waiting for a rank that may be gone."""
        if paddle.distributed.is_initialized():
            paddle.distributed.destroy_process_group()

    @classmethod
    def gpus_seen(cls) -> int | None:
        """See the base class."""
        return int(paddle.device.cuda.device_count())

    def matrix_product_rates(self) -> dict[str, float]:
        """See :meth:`Backend.matrix_product_rates`."""
        return {"Paddle": device.product_rate("gpu" if self._gpu else "cpu", self._dtype)}

    def peak_device_memory(self) -> int | None:
        """On a GPU: see :meth:`Backend.peak_device_memory`."""
        return device.peak_memory() if self._gpu else None

    def averaging(self, values: NDArray[np.float32]) -> Averaging:
        """See :meth:`Backend.averaging` (not yet run on a GPU)."""
        held = paddle.to_tensor(values)

        def run() -> None:
            paddle.distributed.all_reduce(held)
            held.scale_(1.0 / self._placement.world_size)
            self._wait_for_device()

        return Averaging(run, lambda: held.numpy().copy())

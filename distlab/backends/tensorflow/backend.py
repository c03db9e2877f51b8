"""TensorFlow: a custom training loop whose gradients MultiWorkerMirroredStrategy averages.

``execution=graph`` runs a whole span of steps as one ``tf.function`` (a loop inside the graph
costs no dispatch, and its length is not part of the signature); ``execution=eager`` runs the same
step op by op. The layers are ``tf.nn`` operations on variables: eager, they run almost twice as
many small steps per second as Keras layers; compiled for a CPU, convolutions with few channels run
by blocks of pixels (:mod:`distlab.backends.tensorflow.blocked_conv`). Each process holds its one
replica in plain variables, equal on all ranks because all apply the same averaged gradient; so the
strategy is needed for the all-reduce only, and world size 1 has none.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from typing import Any, ClassVar

# TensorFlow reads these while it is imported; what the config set before stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Room for the kernels that are compiled for a GPU which is newer than TensorFlow's own.
os.environ.setdefault("CUDA_CACHE_MAXSIZE", str(4 * 2**30))

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

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
from distlab.backends.tensorflow import device
from distlab.backends.tensorflow.arrays import shared
from distlab.backends.tensorflow.exchange import collectives
from distlab.backends.tensorflow.layouts import layouts
from distlab.backends.tensorflow.model import logits
from distlab.backends.tensorflow.optimizers import optimizer
from distlab.models.spec import ModelSpec

tf.get_logger().setLevel("ERROR")

SAID = {
    "adam": "Adam written out as its paper has it",
    "adamw": "AdamW written out: weights decay, and Adam as its paper has it",
    "sgd": "SGD by the fused operations of tf.raw_ops",
}
"""How each optimizer is written here."""
EVALUATION_BATCH = 250
"""Test samples of one forward pass; bounds the memory, does not touch the sums."""


class TensorFlowBackend(Backend):
    """See the module's text."""

    framework: ClassVar[str] = "tf"
    executions: ClassVar[tuple[str, ...]] = ("eager", "graph")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "tf32", "bf16")
    optimizers: ClassVar[tuple[str, ...]] = ("adam", "adamw", "sgd")

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        if placement.folder:
            # Autograph leaves a file for each function there unless its process ends by itself.
            tempfile.tempdir = placement.folder
        tf.config.threading.set_intra_op_parallelism_threads(placement.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_tensor_float_32_execution(False)
        device.choose(placement.device, placement.deterministic)
        self._strategy: tf.distribute.Strategy | None = None
        if placement.world_size > 1:
            os.environ["TF_CONFIG"] = json.dumps(
                {
                    "cluster": {"worker": list(placement.endpoints)},
                    "task": {"type": "worker", "index": placement.rank},
                }
            )
            implementation = tf.distribute.experimental.CommunicationImplementation
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(
                communication_options=tf.distribute.experimental.CommunicationOptions(
                    implementation=implementation.NCCL if self._gpu else implementation.RING
                )
            )

    @property
    def _gpu(self) -> bool:
        return self._placement.device == "gpu"

    def describe(self) -> dict[str, Any]:
        """See :meth:`Backend.describe`."""
        return {
            "framework_version": tf.__version__,
            "device_name": device.name(self._placement.device),
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
            "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "collectives": self._collectives(),
            "tuned": self._tuned(),
            "compiled_from_cache": False if self._program.execution == "graph" else None,
        }

    def _collectives(self) -> str:
        """By what ranks average, as the function has it that the barrier, too, goes through."""
        if self._strategy is None:
            return "none"
        scalar = [tf.TensorSpec([])]
        return collectives(self._compiled_average.get_concrete_function(scalar))

    def _tuned(self) -> list[str]:
        """What is done otherwise than in TensorFlow's tutorials, in words."""
        said = ["layers as tf.nn operations on variables, without Keras"]
        if self._program.optimizer == "reference":
            said.append(SAID[self._program.rule])
        if self._program.execution == "graph":
            said.append("a whole span of steps as one tf.function")
            if not self._gpu:
                said.append("convolutions with few channels by blocks of pixels")
        return said

    def build(self, spec: ModelSpec, program: Program) -> None:
        """See :meth:`Backend.build`."""
        self._spec, self._program = spec, program
        # Read by the kernels as they run, so it holds for evaluation, too.
        tf.config.experimental.enable_tensor_float_32_execution(program.precision == "tf32")
        self._layouts = layouts(spec)
        self._arrays = {
            name: tf.Variable(tf.zeros(layout.stored), trainable=name in spec.parameters)
            for name, layout in self._layouts.items()
        }
        self._variables = [self._arrays[name] for name in spec.parameters]
        self._running = {name: self._arrays[name] for name in spec.buffers}
        self._optimizer = optimizer(program, self._variables)
        channels, height, width = spec.input_shape
        # Says at once, not from within a trace, if a layer is unknown.
        logits(spec, self._arrays, tf.zeros([1, height, width, channels]))
        data = (
            tf.TensorSpec([None, height, width, channels], tf.float32),
            tf.TensorSpec([None], tf.int64),
        )
        columns = self._optimizer.columns
        span = (
            tf.TensorSpec([None, program.local_batch], tf.int32),
            tf.TensorSpec([None, columns]),
        )
        bounds = (tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32))
        self._compiled_span = tf.function(self._span, input_signature=[*data, *span])
        self._compiled_evaluation = tf.function(self._evaluation, input_signature=[*data, *bounds])
        self._compiled_average = tf.function(self._average)

    def load_data(self, train: LabelledImages, test: LabelledImages) -> None:
        """See :meth:`Backend.load_data`; images are kept as NHWC, in the given memory if it can.

        On CPUs only images of several channels are copied: with one, NHWC and NCHW are the same.
        """

        def to_device(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
            n, channels, height, width = images.shape
            if channels == 1:
                nhwc = np.ascontiguousarray(images).reshape(n, height, width, 1)
            else:
                nhwc = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
            if self._gpu:
                with tf.device("/GPU:0"):  # not yet run on a GPU
                    return tf.convert_to_tensor(nhwc), tf.convert_to_tensor(labels)
            return shared(nhwc), shared(labels)

        self._train_data, self._test_data = to_device(*train), to_device(*test)

    def set_weights(self, weights: Weights) -> None:
        """See :meth:`Backend.set_weights`."""
        self._assign(list(self._arrays.values()), weights)

    def weights(self) -> Weights:
        """See :meth:`Backend.weights`."""
        return self._read(list(self._arrays.values()))

    def set_optimizer_state(self, state: OptimizerState) -> None:
        """See :meth:`Backend.set_optimizer_state`."""
        self._optimizer.step = state.step
        for variables, moment in zip(self._optimizer.moments, MOMENTS, strict=False):
            self._assign(variables, getattr(state, moment))

    def optimizer_state(self) -> OptimizerState:
        """See :meth:`Backend.optimizer_state`."""
        found: list[list[tf.Variable]] = [*self._optimizer.moments, [], []]
        return OptimizerState(self._optimizer.step, *map(self._read, found[:2]))

    def _assign(self, variables: Sequence[tf.Variable], arrays: Weights) -> None:
        """Set variables, which stand in the spec's order, from canonical arrays."""
        for variable, (name, layout) in zip(variables, self._layouts.items(), strict=False):
            variable.assign(layout.to_stored(arrays[name]))

    def _read(self, variables: Sequence[tf.Variable]) -> Weights:
        """Variables, which stand in the spec's order, as canonical arrays."""
        return {
            name: layout.to_canonical(variable.numpy())
            for variable, (name, layout) in zip(variables, self._layouts.items(), strict=False)
        }

    def _loss(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        moved: dict[str, tf.Tensor] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits and cross-entropy of each sample; bfloat16 and blocks serve training alone.

        In training ``moved`` is filled with what running statistics become.
        """
        training = moved is not None
        bf16 = training and self._program.precision == "bf16"
        # Blocks are worth their small operations where these cost no dispatch from Python.
        blocks = training and not self._gpu and self._program.execution == "graph"
        outputs = logits(
            self._spec,
            self._arrays,
            images,
            tf.bfloat16 if bf16 else tf.float32,
            blocks=blocks,
            moved=moved,
        )
        return outputs, tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)

    def _average(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """The mean over all ranks, as one all-reduce of the concatenated gradients."""
        assert self._strategy

        def all_reduce() -> Sequence[tf.Tensor]:
            # The strategy asks each tensor for its device, which run gives to those made here.
            local = [tf.identity(gradient) for gradient in gradients]
            replica = tf.distribute.get_replica_context()
            return replica.all_reduce(tf.distribute.ReduceOp.MEAN, local)

        return self._strategy.run(all_reduce)

    def _step(
        self, images: tf.Tensor, labels: tf.Tensor, batch: tf.Tensor, constants: tf.Tensor
    ) -> tf.Tensor:
        """One optimizer step on the samples ``batch``; returns the local loss before it."""
        moved: dict[str, tf.Tensor] = {}
        with tf.GradientTape() as tape:
            _, losses = self._loss(tf.gather(images, batch), tf.gather(labels, batch), moved)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self._variables)
        if self._strategy and self._program.exchange:
            # Compiled when eager too: op by op, TensorFlow would reduce each tensor by itself.
            gradients = self._compiled_average(gradients)
        self._optimizer.apply(gradients, self._variables, constants)
        for name, value in moved.items():
            self._running[name].assign(value)
        return loss

    def _span(
        self, images: tf.Tensor, labels: tf.Tensor, indices: tf.Tensor, constants: tf.Tensor
    ) -> tf.Tensor:
        """One step for each row of ``indices``, as one graph."""
        if self._gpu:
            indices = _on_gpu(indices)
        steps = tf.shape(indices)[0]
        losses = tf.TensorArray(tf.float32, steps, element_shape=())
        for i in tf.range(steps):
            loss = self._step(images, labels, indices[i], constants[i])
            losses = losses.write(i, loss)
        return losses.stack()

    def train(
        self, indices: NDArray[np.int32], rates: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """See :meth:`Backend.train`."""
        rates = self._program.rates(len(indices)) if rates is None else rates
        constants = self._optimizer.schedule(rates)
        images, labels = self._train_data
        if self._program.execution == "graph":
            losses = self._compiled_span(images, labels, indices, constants).numpy()
        else:
            if self._gpu:  # one copy to the device for all steps
                rows = zip(tf.unstack(_on_gpu(indices)), tf.unstack(constants), strict=True)
            else:
                rows = zip(map(tf.constant, indices), map(tf.constant, constants), strict=True)
            losses = tf.stack([self._step(images, labels, *row) for row in rows]).numpy()
        if self._running and self._strategy and self._program.exchange:
            running = list(self._running.values())
            means = self._compiled_average([tf.convert_to_tensor(one) for one in running])
            for variable, mean in zip(running, means, strict=True):
                variable.assign(mean)
        self._synchronize()
        return losses

    def _synchronize(self) -> None:
        """Wait for the device: its one compute stream copies this after all earlier work."""
        self._variables[-1].numpy()

    def _evaluation(
        self, images: tf.Tensor, labels: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Correct predictions and summed loss of the samples ``start`` to ``stop - 1``."""
        correct, loss_sum = tf.constant(0, tf.int64), tf.constant(0, tf.float64)
        for begin in tf.range(start, stop, EVALUATION_BATCH):
            batch = slice(begin, tf.minimum(begin + EVALUATION_BATCH, stop))
            outputs, losses = self._loss(images[batch], labels[batch])
            hits = tf.argmax(outputs, axis=1) == labels[batch]
            correct += tf.reduce_sum(tf.cast(hits, tf.int64))
            loss_sum += tf.reduce_sum(tf.cast(losses, tf.float64))
        return correct, loss_sum

    def evaluate(self, start: int, stop: int) -> Evaluation:
        """See :meth:`Backend.evaluate`."""
        correct, loss_sum = self._compiled_evaluation(
            *self._test_data, tf.constant(start), tf.constant(stop)
        )
        return Evaluation(max(0, stop - start), int(correct), float(loss_sum))

    def barrier(self) -> None:
        """See :meth:`Backend.barrier`."""
        self._synchronize()
        if self._strategy:
            # Not strategy.reduce, which communicates nothing for a value that is no PerReplica.
            self._compiled_average([tf.constant(0.0)])[0].numpy()

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        self.barrier()

    @classmethod
    def gpus_seen(cls) -> int | None:
        """See the base class."""
        return len(tf.config.list_physical_devices("GPU"))

    def matrix_product_rates(self) -> dict[str, float]:
        """See :meth:`Backend.matrix_product_rates`."""
        dtype = tf.bfloat16 if self._program.precision == "bf16" else tf.float32
        return {"TensorFlow": device.product_rate("gpu" if self._gpu else "cpu", dtype)}

    def peak_device_memory(self) -> int | None:
        """See :meth:`Backend.peak_device_memory`."""
        return device.peak_memory() if self._gpu else None

    def averaging(self, values: NDArray[np.float32]) -> Averaging:
        """See :meth:`Backend.averaging`; not in place, for TensorFlow's arrays never change."""
        held = [tf.constant(values)]

        def run() -> None:
            held[:] = self._compiled_average(held)
            held[0][:1].numpy()  # waits for a GPU (not yet run on one)

        return Averaging(run, lambda: held[0].numpy().copy())


def _on_gpu(indices: Any) -> tf.Tensor:
    """As int64: TensorFlow keeps int32 on the host, and would copy each step's row to the GPU."""
    return tf.cast(indices, tf.int64)

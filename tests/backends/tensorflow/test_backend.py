"""What is TensorFlow's alone; the rules for every backend stand in the conformance suite.

This file runs itself in a child process: TensorFlow and Paddle imported in one process crash it.
"""

import gc
import json
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fresh_process
import numpy as np
import pytest

from distlab.backends.base import OptimizerState, Placement, Program
from distlab.fairness import reference
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distlab.models.rewrite import pool_first
from distlab.models.spec import ModelSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("tensorflow") is None,
        reason='TensorFlow is not installed: pip install "distlab[tf]"',
    ),
]

# Two channels, paddings of all three kinds, and a sample whose sides differ after the pooling.
SPEC = ModelSpec(
    "paddings",
    (
        Conv2D("same", 2, 3, kernel=3, padding=1),
        ReLU(),
        Conv2D("explicit", 3, 4, kernel=5, padding=1),
        MaxPool2D(2),
        Conv2D("valid", 4, 5, kernel=2),
        Flatten(),
        Dense("dense1", 5 * 3 * 5, 7),
        ReLU(),
        Dense("dense2", 7, 4),
    ),
    input_shape=(2, 10, 14),
)
PROGRAM = Program(local_batch=4, execution="graph")
# Three pooled convolutions, the first narrow: all are computed by blocks. One input channel.
POOLED = ModelSpec(
    "pooled",
    (
        Conv2D("conv1", 1, 3, kernel=5, padding=2),
        ReLU(),
        MaxPool2D(2),
        Conv2D("conv2", 3, 4, kernel=3),
        MaxPool2D(2),
        Conv2D("conv3", 4, 5, kernel=3),
        ReLU(),
        MaxPool2D(2),
        Flatten(),
        Dense("dense1", 5 * 4 * 2, 4),
    ),
    input_shape=(1, 44, 28),
)
PROGRAMS = {
    f"{execution} {precision}": Program(local_batch=8, execution=execution, precision=precision)
    for execution in ("graph", "eager")
    for precision in ("fp32", "bf16")
}
ORDER = np.arange(48, dtype=np.int32).reshape(6, 8)
SAMPLES = 2300  # not a multiple of the evaluation's batch


def experiment(spec: ModelSpec = SPEC, samples: int = SAMPLES) -> tuple[dict[str, Any], Any, Any]:
    """Weights, images and labels, drawn alike in the test and in its child."""
    random = np.random.default_rng(3)
    weights = {
        name: random.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in spec.parameters.items()
    }
    images = random.random((samples, *spec.input_shape), np.float32)
    return weights, images, random.integers(0, 4, samples)


def dark_corners() -> tuple[dict[str, Any], Any, Any]:
    """As :func:`experiment` for :data:`POOLED`, with images mostly of equal pixels: ties."""
    weights, images, labels = experiment(POOLED, 48)
    images[:, :, :20] = 0
    images[:, :, :, 15:] = 1
    return weights, images, labels


def aligned(array: Any, offset: int = 0) -> Any:
    """A copy that begins ``offset`` bytes behind a multiple of 64, as in Ray's store with 0."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def gradients(steps: int) -> Any:
    """Gradients from 1e-10 to 1e-2, so that epsilon decides the update of some elements."""
    scale = np.logspace(-10, -2, 60).astype(np.float32)
    return np.random.default_rng(5).normal(0.5, 1, (steps, 60)).astype(np.float32) * scale


def child() -> dict[str, Any]:
    """Everything that needs TensorFlow."""
    import tensorflow as tf

    from distlab.backends.tensorflow.backend import TensorFlowBackend
    from distlab.backends.tensorflow.blocked_conv import blocked
    from distlab.backends.tensorflow.layouts import layouts
    from distlab.backends.tensorflow.model import logits
    from distlab.backends.tensorflow.optimizers import ReferenceAdam, StockAdam

    folder = tempfile.mkdtemp()
    backend = TensorFlowBackend(Placement(0, 1, 0, "cpu", (), threads=1, folder=folder))
    backend.build(SPEC, PROGRAM)
    weights, images, labels = experiment()
    backend.load_data((images, labels), (images, labels))
    backend.set_weights(weights)
    backend.set_optimizer_state(OptimizerState.zero(SPEC))
    losses: list[float] = []
    for steps in (1, 3, 2):
        first = 4 * len(losses)
        batch = np.arange(first, first + 4 * steps, dtype=np.int32).reshape(steps, 4)
        losses += backend.train(batch).tolist()
    backend.set_weights(weights)
    whole, part = backend.evaluate(0, SAMPLES), backend.evaluate(700, 1900)

    traces = backend._compiled_span.experimental_get_tracing_count()
    evaluation_traces = backend._compiled_evaluation.experimental_get_tracing_count()

    # On a GPU the indices of a span are cast to int64: so here, on the CPU.
    cast: dict[str, Any] = {}
    for execution in ("graph", "eager"):
        for where in ("cpu", "gpu"):
            backend._placement = Placement(0, 1, 0, where, (), threads=1)
            backend.build(SPEC, replace(PROGRAM, execution=execution))
            backend.set_weights(weights)
            backend.set_optimizer_state(OptimizerState.zero(SPEC))
            batches = np.arange(24, dtype=np.int32).reshape(6, 4)
            cast[f"{execution} {where}"] = backend.train(batches).tolist()
    backend._placement = Placement(0, 1, 0, "cpu", (), threads=1)
    unknown = backend.peak_device_memory() is None
    (rate,) = backend.matrix_product_rates().values()

    weights, images, labels = dark_corners()
    whole_images = aligned(images)
    whole_images.flags.writeable = False
    unaligned = aligned(images, 4)
    pooled: dict[str, Any] = {}
    for name, program in PROGRAMS.items():
        backend.build(POOLED, program)
        backend.load_data((whole_images, labels), (unaligned, labels))
        backend.set_weights(weights)
        backend.set_optimizer_state(OptimizerState.zero(POOLED))
        pooled[name] = {
            "losses": backend.train(ORDER).tolist(),
            "weights": {k: v.tolist() for k, v in backend.weights().items()},
            "evaluation": backend.evaluate(0, 47).loss_sum,
            "tf32": backend.describe()["tf32"],
        }
        backend.set_weights(weights)
        pooled[name]["first_evaluation"] = backend.evaluate(0, 47).loss_sum

    variables = {k: tf.Variable(f.to_stored(weights[k])) for k, f in layouts(POOLED).items()}

    def tied_gradient(name: str, *, blocks: bool) -> Any:
        """Gradient of a channel's weight that is zero, so that all of its outputs tie."""
        weight, bias = (variables[f"{name}.{kind}"] for kind in ("weight", "bias"))
        kept = weight.numpy()
        weight.assign(kept * (np.arange(kept.shape[-1]) > 0))
        bias.assign(tf.ones_like(bias))

        @tf.function
        def gradient(inputs: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                outputs = logits(POOLED, variables, inputs, blocks=blocks)
                total = tf.reduce_sum(outputs[:, 0])
            return tape.gradient(total, weight)

        found = gradient(random_images.transpose(0, 2, 3, 1)).numpy()[..., 0]
        weight.assign(kept)
        return found

    random_images = experiment(POOLED, 8)[1]
    tied = {}
    for name in ("conv1", "conv2", "conv3"):
        plain = tied_gradient(name, blocks=False)
        tied[name] = float(np.abs(tied_gradient(name, blocks=True) - plain).max())
        tied[name] /= float(np.abs(plain).max())
    kept = backend._train_data[0]
    address = np.from_dlpack(kept).ctypes.data
    memory = {
        "shared": address == whole_images.ctypes.data,
        "unaligned_shared": np.from_dlpack(backend._test_data[0]).ctypes.data
        == unaligned.ctypes.data,
        "unaligned_equal": bool(np.array_equal(backend._test_data[0][..., 0], images[:, 0])),
        "shape": list(kept.shape),
    }
    whole_images = None  # the tensor alone keeps it now
    gc.collect()
    memory["alive"] = bool(np.array_equal(kept.numpy()[..., 0], images[:, 0]))

    moved = {}
    for adam in (ReferenceAdam, StockAdam):
        variable = tf.Variable(tf.zeros(60))
        optimizer = adam(PROGRAM, [variable])
        for gradient, row in zip(
            gradients(500), optimizer.schedule(np.full(500, PROGRAM.learning_rate)), strict=True
        ):
            optimizer.apply([tf.constant(gradient)], [variable], row)
        moved[adam.__name__] = variable.numpy().tolist()
    return {
        "losses": losses,
        "cast": cast,
        "unknown": unknown,
        "rate": rate,
        "traces": traces,
        "evaluations": [(e.samples, e.correct, e.loss_sum) for e in (whole, part)],
        "evaluation_traces": evaluation_traces,
        "blocks": len(blocked(POOLED, pool_first(POOLED.layers))),
        "blocks_of_paddings": len(blocked(SPEC, pool_first(SPEC.layers))),
        "pooled": pooled,
        "tied": tied,
        "memory": memory,
        "generated": sorted(one.name for one in Path(folder).iterdir()),
        **moved,
    }


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return fresh_process.found(__file__)


def test_spans_of_any_length_share_one_graph(found: dict[str, Any]) -> None:
    assert found["traces"] == 1
    assert found["evaluation_traces"] == 1


def test_int64_indices_as_on_a_gpu_give_the_same_losses(found: dict[str, Any]) -> None:
    for execution in ("graph", "eager"):
        assert found["cast"][f"{execution} cpu"] == found["cast"][f"{execution} gpu"]
        assert found["cast"][f"{execution} cpu"] == pytest.approx(found["losses"], rel=1e-6)


def test_gpu_figures_are_unknown_on_a_cpu_and_products_are_timed(found: dict[str, Any]) -> None:
    assert found["unknown"]
    assert 1e6 < found["rate"] < 1e15


def test_every_padding_and_the_flatten_order_follow_the_oracle(found: dict[str, Any]) -> None:
    weights, images, labels = experiment()
    order = np.arange(24).reshape(6, 4)
    expected = reference.losses(SPEC, weights, images, labels, order)
    np.testing.assert_allclose(found["losses"], expected, rtol=2e-6)


def test_evaluation_in_unequal_batches_counts_each_sample_once(found: dict[str, Any]) -> None:
    weights, images, labels = experiment()
    logits = reference.logits(SPEC, weights, images)
    losses = reference.cross_entropies(logits, labels)
    for (samples, correct, loss_sum), part in zip(
        found["evaluations"], (slice(None), slice(700, 1900)), strict=True
    ):
        assert samples == len(labels[part])
        assert correct == np.sum(logits[part].argmax(axis=1) == labels[part])
        assert loss_sum == pytest.approx(losses[part].sum(), rel=1e-6)


def test_fused_adam_is_algorithm_1_where_epsilon_decides(found: dict[str, Any]) -> None:
    adam = reference.Adam(PROGRAM.learning_rate)
    expected = {"w": np.zeros(60)}
    for gradient in gradients(500):
        expected = adam.step(expected, {"w": gradient.astype(np.float64)})
    np.testing.assert_allclose(found["ReferenceAdam"], expected["w"], rtol=3e-6)
    # Keras's own is another formula: the test above would notice it.
    assert not np.allclose(found["StockAdam"], expected["w"], rtol=1e-2)


def test_blocks_of_pixels_follow_the_oracle_where_maxima_tie(found: dict[str, Any]) -> None:
    assert (found["blocks"], found["blocks_of_paddings"]) == (3, 0)
    weights, images, labels = dark_corners()
    expected = reference.losses(POOLED, weights, images, labels, ORDER)
    for execution in ("graph", "eager"):
        losses = found["pooled"][f"{execution} fp32"]["losses"]
        np.testing.assert_allclose(losses, expected, rtol=5e-6)


def test_ties_of_a_block_go_to_the_pixel_that_max_pool_takes(found: dict[str, Any]) -> None:
    # Windows of unequal patches are made to tie: whose patch is taken decides the gradient.
    assert found["tied"].keys() == {"conv1", "conv2", "conv3"}
    assert max(found["tied"].values()) < 1e-5


@pytest.mark.parametrize("execution", ["graph", "eager"])
def test_bfloat16_rounds_training_and_not_evaluation(found: dict[str, Any], execution: str) -> None:
    exact, rounded = (found["pooled"][f"{execution} {name}"] for name in ("fp32", "bf16"))
    errors = np.abs(np.divide(rounded["losses"], exact["losses"]) - 1)
    assert 1e-5 < errors.max() < 0.05
    assert rounded["first_evaluation"] == exact["first_evaluation"]
    for name, values in rounded["weights"].items():
        # Weights and Adam are float32: no tensor consists of bfloat16 values.
        assert np.any(np.asarray(values, np.float32).view(np.uint32) & 0xFFFF), name
    assert not rounded["tf32"]


def test_data_is_shared_where_it_can_be(found: dict[str, Any]) -> None:
    memory = found["memory"]
    assert memory["shared"]
    assert memory["shape"] == [48, 44, 28, 1]
    assert memory["alive"]
    # What does not begin at a multiple of 64 bytes is copied: kernels would abort the process.
    assert not memory["unaligned_shared"]
    assert memory["unaligned_equal"]


def test_generated_files_are_where_they_go_with_the_ranks(found: dict[str, Any]) -> None:
    assert any(name.startswith("__autograph_generated_file") for name in found["generated"])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(child()))

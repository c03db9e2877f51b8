"""What is TensorFlow's alone; the rules for every backend stand in the conformance suite.

This file runs itself in a child process: TensorFlow and Paddle imported in one process crash it.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from distlab.backends.base import OptimizerState, Placement, Program
from distlab.models import reference
from distlab.models.spec import Conv2D, Dense, Flatten, MaxPool2D, ModelSpec, ReLU

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None,
    reason='TensorFlow is not installed: pip install "distlab[tf]"',
)

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
SAMPLES = 2300  # not a multiple of the evaluation's batch


def experiment() -> tuple[dict[str, Any], Any, Any]:
    """Weights, images and labels, drawn alike in the test and in its child."""
    random = np.random.default_rng(3)
    weights = {
        name: random.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in SPEC.parameters.items()
    }
    images = random.random((SAMPLES, *SPEC.input_shape), np.float32)
    return weights, images, random.integers(0, 4, SAMPLES)


def gradients(steps: int) -> Any:
    """Gradients from 1e-10 to 1e-2, so that epsilon decides the update of some elements."""
    scale = np.logspace(-10, -2, 60).astype(np.float32)
    return np.random.default_rng(5).normal(0.5, 1, (steps, 60)).astype(np.float32) * scale


def child() -> dict[str, Any]:
    """Everything that needs TensorFlow."""
    import tensorflow as tf

    from distlab.backends.tensorflow import TensorFlowBackend
    from distlab.backends.tensorflow_adam import ReferenceAdam, StockAdam

    backend = TensorFlowBackend(Placement(0, 1, 0, "cpu", (), threads=1))
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

    moved = {}
    for adam in (ReferenceAdam, StockAdam):
        variable = tf.Variable(tf.zeros(60))
        optimizer = adam(PROGRAM, [variable])
        for gradient, row in zip(gradients(500), optimizer.schedule(500), strict=True):
            optimizer.apply([tf.constant(gradient)], [variable], row)
        moved[adam.__name__] = variable.numpy().tolist()
    return {
        "losses": losses,
        "traces": backend._compiled_span.experimental_get_tracing_count(),
        "evaluations": [(e.samples, e.correct, e.loss_sum) for e in (whole, part)],
        "evaluation_traces": backend._compiled_evaluation.experimental_get_tracing_count(),
        **moved,
    }


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    result = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_spans_of_any_length_share_one_graph(found: dict[str, Any]) -> None:
    assert found["traces"] == 1
    assert found["evaluation_traces"] == 1


def test_every_padding_and_the_flatten_order_follow_the_oracle(found: dict[str, Any]) -> None:
    weights, images, labels = experiment()
    order = np.arange(24).reshape(6, 4)
    expected = reference.losses(SPEC, weights, images, labels, order)
    np.testing.assert_allclose(found["losses"], expected, rtol=2e-6)


def test_evaluation_in_unequal_batches_counts_each_sample_once(found: dict[str, Any]) -> None:
    weights, images, labels = experiment()
    logits = reference.logits(SPEC, weights, images)
    losses = -reference.log_softmax(logits)[np.arange(SAMPLES), labels]
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(child()))

"""What is particular to Paddle; the rules common to all backends are in the conformance suite.

Paddle and TensorFlow crash a process that imports both: here Paddle is imported in children only.
"""

import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("paddle") is None, reason='Paddle is not installed: pip install "distlab[paddle]"'
)


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a process of its own that sees only this environment."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("optimizer", ["reference", "stock"])
@pytest.mark.parametrize("execution", ["eager", "graph"])
def test_adam_follows_algorithm_1_over_500_steps_and_prints_nothing(
    execution: str, optimizer: str
) -> None:
    # Softmax regression: without ReLU no rounding error can switch a unit on or off, so that only
    # a wrong formula can drift. Steps 250 to 500 follow a round trip of weights and state.
    result = run(
        f"""
        import numpy as np
        from distlab.backends.base import OptimizerState, Placement, Program
        from distlab.backends.paddle import PaddleBackend
        from distlab.models import reference
        from distlab.models.spec import Dense, Flatten, ModelSpec
        from distlab.models.weights import draw

        spec = ModelSpec("linear", (Flatten(), Dense("dense1", 64, 10)), (1, 8, 8))
        random = np.random.default_rng(0)
        images = random.random((640, 1, 8, 8), np.float32)
        images[:, :, 0] *= 1e-7  # gradients so small that epsilon decides
        labels = random.integers(0, 10, 640)
        order = random.integers(0, 640, (500, 16), np.int32)
        start = draw(spec, 0)

        backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), 1))
        backend.build(spec, Program(16, optimizer="{optimizer}", execution="{execution}"))
        backend.load_data((images, labels), (images, labels))
        backend.set_weights(start)
        backend.set_optimizer_state(OptimizerState.zero(spec))
        first = backend.train(order[:250])
        weights, state = backend.weights(), backend.optimizer_state()
        backend.train(order[:7])
        backend.set_weights(weights)
        backend.set_optimizer_state(state)
        losses = np.concatenate([first, backend.train(order[250:])])

        adam, expected = reference.Adam(1e-3), start
        for step, batch in enumerate(order):
            loss, gradients = reference.loss_and_gradients(
                spec, expected, images[batch], labels[batch]
            )
            np.testing.assert_allclose(losses[step], loss, rtol=2e-6)
            expected = adam.step(expected, gradients)
        for name, weight in backend.weights().items():
            np.testing.assert_allclose(weight, expected[name], rtol=0, atol=1e-5)
        assert backend.optimizer_state().step == 500
        backend.close()
        """,
        MKL_DEBUG_CPU_TYPE="auto",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout + result.stderr == ""


def test_threads_are_those_asked_for_whatever_the_environment_says() -> None:
    result = run(
        """
        from distlab.backends.base import Placement
        from distlab.backends.paddle import PaddleBackend

        for threads in (3, 1):
            backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), threads))
            assert backend.describe()["threads"] == threads
        """,
        OMP_NUM_THREADS="2",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout + result.stderr == ""


def test_a_gpu_that_this_paddle_cannot_use_is_a_users_error() -> None:
    result = run(
        """
        import paddle
        from distlab.backends.base import Placement
        from distlab.backends.paddle import PaddleBackend
        from distlab.errors import DistlabError

        if not paddle.is_compiled_with_cuda():
            try:
                PaddleBackend(Placement(0, 1, 0, "gpu", ("127.0.0.1:1",), 1))
            except DistlabError as error:
                assert "without CUDA" in error.found and error.fix
            else:
                raise AssertionError("no error")
        """
    )
    assert result.returncode == 0, result.stderr

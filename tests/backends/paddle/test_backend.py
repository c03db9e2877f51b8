"""What is particular to Paddle; the rules common to all backends are in the conformance suite.

Paddle and TensorFlow crash a process that imports both: here Paddle is imported in children only.
"""

from importlib.util import find_spec

import pytest
from fresh_process import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("paddle") is None, reason='Paddle is not installed: pip install "distlab[paddle]"'
    ),
]


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
        from distlab.backends.paddle.backend import PaddleBackend
        from distlab.fairness import reference
        from distlab.models.layers import Dense, Flatten
        from distlab.models.spec import ModelSpec
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
    assert result.stdout + result.stderr == ""


def test_threads_are_those_asked_for_whatever_the_environment_says() -> None:
    # As where NumPy and Paddle are alone; the process has another OpenMP, with its own number.
    result = run(
        """
        import sys

        sys.modules["threadpoolctl"] = None

        from distlab.backends.base import Placement
        from distlab.backends.paddle.backend import PaddleBackend, paddle

        for threads in (3, 1):
            backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), threads))
            assert backend.describe()["threads"] == threads
            paddle.base.core.set_num_threads(5)
            assert backend.describe()["threads"] == 5
        """,
        OMP_NUM_THREADS="2",
    )
    assert result.stdout + result.stderr == ""


def test_ranks_meet_where_distlab_says_whatever_a_nodes_environment_does() -> None:
    run(
        """
        import os

        from distlab.backends.base import Placement
        from distlab.backends.paddle.backend import PaddleBackend, paddle

        paddle.distributed.init_parallel_env = lambda: None
        PaddleBackend(Placement(0, 2, 0, "cpu", ("127.0.0.1:7", "127.0.0.1:8"), 1))
        assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("127.0.0.1", "7")
        """,
        MASTER_ADDR="192.0.2.1",
        MASTER_PORT="29500",
    )


def test_a_gpu_that_this_paddle_cannot_use_is_a_users_error() -> None:
    run(
        """
        import paddle
        from distlab.backends.base import Placement
        from distlab.backends.paddle.backend import PaddleBackend
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


def test_cross_entropy_is_paddles_own_bit_for_bit_with_the_operator_and_without() -> None:
    run(
        """
        from types import SimpleNamespace

        import numpy as np
        from distlab.backends.paddle import model
        from distlab.backends.paddle.importing import functional, paddle

        random = np.random.default_rng(0)
        values = random.normal(0, 20, (64, 10)).astype(np.float32)
        labels = paddle.to_tensor(random.integers(0, 10, (64, 1)))

        def of(function):
            logits = paddle.to_tensor(values, stop_gradient=False)
            loss = function(logits, labels)
            loss.backward()
            assert loss.shape == []
            return loss.numpy().tobytes(), logits.grad.numpy().tobytes()

        called = []

        def own(logits, labels):
            called.append(1)
            return functional.cross_entropy(logits, labels)

        expected = of(functional.cross_entropy)
        model.functional = SimpleNamespace(cross_entropy=own)
        assert of(model.mean_cross_entropy) == expected
        assert not called
        model.paddle = SimpleNamespace(_C_ops=SimpleNamespace())
        assert of(model.mean_cross_entropy) == expected
        assert called
        """
    )


def test_the_data_are_read_where_they_lie_and_kept_alive() -> None:
    run(
        """
        import gc
        import weakref

        import numpy as np
        from distlab.backends.base import Placement
        from distlab.backends.paddle.backend import PaddleBackend

        class Array(np.ndarray):
            pass

        images = np.random.default_rng(0).random((100, 1, 4, 4), np.float32).view(Array)
        # Where the axis of length 1 was added later, NumPy's stride is 0.
        images = images.reshape(100, 4, 4)[:, np.newaxis]
        labels = (np.arange(100) % 10).view(Array)
        for array in (images, labels):
            array.flags.writeable = False
        expected, address = images.copy(), images.ctypes.data
        backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), 1))
        backend.load_data((images, labels), (images, labels))
        assert backend._images.data_ptr() == backend._test_images.data_ptr() == address
        assert backend._labels.data_ptr() == labels.ctypes.data
        assert backend._images.is_contiguous() and backend._labels.is_contiguous()
        alive = weakref.ref(images.base)
        del images, array
        gc.collect()
        assert alive() is not None
        assert (backend._images.numpy() == expected).all()
        """
    )


def test_data_that_are_not_aligned_or_not_contiguous_give_the_same_losses() -> None:
    run(
        """
        import numpy as np
        from distlab.backends.base import OptimizerState, Placement, Program
        from distlab.backends.paddle.backend import PaddleBackend
        from distlab.models.shipped import MODELS
        from distlab.models.weights import draw

        spec = MODELS["mlp"]
        random = np.random.default_rng(0)
        images = random.random((200, 1, 28, 28), np.float32)
        labels = random.integers(0, 10, 200)
        order = random.integers(0, 200, (5, 16), np.int32)

        def shifted(array, by):
            raw = np.zeros(array.nbytes + 64, np.uint8)[by:][: array.nbytes]
            moved = raw.view(array.dtype).reshape(array.shape)
            moved[:] = array
            return moved

        backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), 1))
        found = []
        for form in (
            (images, labels),
            (shifted(images, 1), shifted(labels, 1)),
            (shifted(images, 4), shifted(labels, 8)),
            (np.asfortranarray(images), np.repeat(labels, 2)[::2]),
        ):
            backend.build(spec, Program(16))
            backend.load_data(form, form)
            backend.set_weights(draw(spec, 0))
            backend.set_optimizer_state(OptimizerState.zero(spec))
            found.append((*backend.train(order), backend.evaluate(0, 200).loss_sum))
        assert found[0] == found[1] == found[2] == found[3], found
        """
    )


def test_bfloat16_on_cpus_is_a_users_error_and_the_backend_goes_on() -> None:
    run(
        """
        from distlab.backends.base import Placement, Program
        from distlab.backends.paddle.backend import PaddleBackend
        from distlab.errors import DistlabError
        from distlab.models.shipped import MODELS

        backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), 1))
        assert backend.precisions == ("fp32",)
        try:
            backend.build(MODELS["mlp"], Program(16, precision="bf16"))
        except DistlabError as error:
            assert "no bfloat16 kernel" in error.found and "precision=fp32" in error.fix
        else:
            raise AssertionError("no error")
        backend.build(MODELS["mlp"], Program(16))
        assert backend.describe()["tf32"] is False
        """
    )


def test_layers_in_another_type_give_float32_gradients_near_those_of_float32() -> None:
    # bfloat16 has no kernels on CPUs: float64 goes the same way through the casts.
    run(
        """
        import numpy as np
        from distlab.backends.paddle.importing import paddle
        from distlab.backends.paddle.model import function
        from distlab.models.layers import Conv2D

        random = np.random.default_rng(0)
        layer = Conv2D("conv", 1, 2, 3)
        parameters = {
            name: paddle.to_tensor(random.random(shape, np.float32), stop_gradient=False)
            for name, shape in layer.parameters.items()
        }
        images = paddle.to_tensor(random.random((4, 1, 6, 6), np.float32))
        gradients = []
        for dtype in ("float32", "float64"):
            outputs = function(layer, parameters, dtype)(images)
            assert outputs.dtype == getattr(paddle, dtype)
            (outputs**2).sum().astype("float32").backward()
            assert all(value.grad.dtype == paddle.float32 for value in parameters.values())
            gradients.append([value.grad.numpy() for value in parameters.values()])
            for value in parameters.values():
                value.clear_gradient(False)
        for single, double in zip(*gradients, strict=True):
            np.testing.assert_allclose(single, double, rtol=1e-5)
        assert any((single != double).any() for single, double in zip(*gradients, strict=True))
        """
    )


@pytest.mark.parametrize(("forced", "expected"), [(None, [True, False]), ("0", False), ("1", True)])
def test_tf32_is_what_the_switches_say_unless_the_environment_forces_it(
    forced: str | None, expected: list[bool] | bool
) -> None:
    environment = {} if forced is None else {"NVIDIA_TF32_OVERRIDE": forced}
    run(
        f"""
        from distlab.backends.paddle.precision import set_tf32, tf32_in_effect
        from distlab.errors import DistlabError

        found, refused = [], []
        for allowed in (True, False):
            try:
                set_tf32(allowed)
                found.append(tf32_in_effect())
            except DistlabError:
                refused.append(allowed)
        expected = {expected!r}
        if isinstance(expected, list):
            assert found == expected and not refused
        else:
            assert found == [expected] and refused == [not expected]
        """,
        **environment,
    )


def test_a_convolutions_memory_is_not_faulted_in_anew_at_every_step() -> None:
    run(
        """
        import resource

        import numpy as np
        from distlab.backends.base import OptimizerState, Placement, Program
        from distlab.backends.paddle.backend import PaddleBackend
        from distlab.models.shipped import MODELS
        from distlab.models.weights import draw

        spec = MODELS["lenet5"]
        random = np.random.default_rng(0)
        data = random.random((640, 1, 28, 28), np.float32), random.integers(0, 10, 640)
        backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), 1))
        backend.build(spec, Program(64))
        backend.load_data(data, data)
        backend.set_weights(draw(spec, 0))
        backend.set_optimizer_state(OptimizerState.zero(spec))
        order = random.integers(0, 640, (20, 64), np.int32)
        counted = []
        for span in range(6):  # the heap grows to its size in the first ones
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            backend.train(order)
            counted.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        assert min(counted) < 20 * 10, counted
        """
    )

"""What a CPU shows of the code for GPUs."""

from importlib.util import find_spec

import pytest
from fresh_process import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("paddle") is None, reason='Paddle is not installed: pip install "distlab[paddle]"'
    ),
]


def test_gpu_figures_are_unknown_on_a_cpu_and_powers_of_betas_stay_there() -> None:
    run(
        """
        from distlab.machine import ceiling
        from distlab.backends.paddle import device
        from distlab.backends.base import OptimizerState, Placement, Program
        from distlab.backends.paddle.backend import PaddleBackend
        from distlab.backends.paddle.importing import paddle
        from distlab.models.shipped import MODELS

        spec = MODELS["mlp"]
        backend = PaddleBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:1",), 1))
        backend.build(spec, Program(16))
        backend.set_optimizer_state(OptimizerState.zero(spec))
        (rate,) = backend.matrix_product_rates().values()
        assert 1e6 < rate < 1e15 and backend.peak_device_memory() is None
        for kind, beta in (("beta1_pow_acc", 0.9), ("beta2_pow_acc", 0.999)):
            for tensor in backend._optimizer._tensors(kind).values():
                assert tensor.place.is_cpu_place() and abs(tensor.item() - beta) < 1e-7
        waited = []
        paddle.device.synchronize = lambda: waited.append(1)
        ceiling.SIZES, ceiling.SECONDS = {"gpu": (32,)}, {"gpu": 0.01}
        assert 1e3 < device.product_rate("gpu") < 1e15
        assert len(waited) > 1
        """
    )


def test_autotuning_is_turned_on_for_gpus_unless_the_environment_has_it() -> None:
    for forced, expected in (({}, [True]), ({"FLAGS_cudnn_exhaustive_search": "0"}, [])):
        run(
            f"""
            from distlab.backends.paddle import device
            from distlab.backends.paddle.importing import paddle

            given = []
            paddle.is_compiled_with_cuda = lambda: True
            paddle.set_flags = lambda flags: given.extend(flags.values())
            device.prepare()
            assert given == {expected}, given
            given.clear()
            device.prepare(deterministic=True)
            assert given == [False, True], given
            """,
            **forced,
        )

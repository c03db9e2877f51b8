"""What Paddle is told of a GPU and tells of it. Not yet run on one."""

import os

import numpy as np
from numpy.typing import NDArray

from distlab.backends.paddle.importing import paddle
from distlab.errors import DistlabError
from distlab.machine.ceiling import SIZES, Multiply, best_rate

AUTOTUNE = "FLAGS_cudnn_exhaustive_search"
"""Builds without CUDA don't know it."""


def prepare() -> None:
    """Let cuDNN time its algorithms and take the fastest, unless the environment says otherwise.

    Raises
    ------
    distlab.errors.DistlabError
        If this Paddle was built without CUDA.
    """
    if not paddle.is_compiled_with_cuda():
        raise DistlabError(
            "framework=paddle on device=gpu",
            f"the installed Paddle {paddle.__version__} was built without CUDA",
            "device=cpu, to run on CPUs\n"
            "install paddlepaddle-gpu in place of paddlepaddle (docs: paddlepaddle.org.cn), in "
            "an environment of its own",
        )
    if AUTOTUNE not in os.environ:
        paddle.set_flags({AUTOTUNE: True})


def product_rate(device: str) -> float:
    """See :meth:`distlab.backends.base.Backend.matrix_product_rates`."""

    def prepare(array: NDArray[np.float32]) -> Multiply:
        matrix = paddle.to_tensor(array)

        def multiply() -> None:
            paddle.matmul(matrix, matrix)
            if device == "gpu":
                paddle.device.synchronize()

        return multiply

    return best_rate(prepare, SIZES[device])


def peak_memory() -> int:
    """See :meth:`distlab.backends.base.Backend.peak_device_memory`."""
    peak = paddle.device.cuda.max_memory_allocated()
    paddle.device.cuda.reset_max_memory_allocated()
    return int(peak)

"""What Paddle is told of a GPU and tells of it. Not yet run on one."""

import os
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distlab.backends.paddle.importing import paddle
from distlab.errors import DistlabError
from distlab.machine.ceiling import Multiply, device_rate

AUTOTUNE = "FLAGS_cudnn_exhaustive_search"
"""Builds without CUDA don't know it."""


def prepare(deterministic: bool = False) -> None:
    """Let cuDNN time its algorithms and take the fastest, unless the environment says otherwise.

    With ``deterministic`` it takes those that give the same bits again.

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
    if deterministic:
        paddle.set_flags({AUTOTUNE: False, "FLAGS_cudnn_deterministic": True})
    elif AUTOTUNE not in os.environ:
        paddle.set_flags({AUTOTUNE: True})


def product_rate(device: str, dtype: Literal["float32", "bfloat16"] = "float32") -> float:
    """See :meth:`distlab.backends.base.Backend.matrix_product_rates`."""

    def prepare(array: NDArray[np.float32]) -> Multiply:
        matrix = paddle.to_tensor(array).astype(dtype)
        return lambda: paddle.matmul(matrix, matrix)

    def wait(_: object) -> None:
        if device == "gpu":
            paddle.device.synchronize()

    return device_rate(device, prepare, wait)


def peak_memory() -> int:
    """See :meth:`distlab.backends.base.Backend.peak_device_memory`."""
    peak = paddle.device.cuda.max_memory_allocated()
    paddle.device.cuda.reset_max_memory_allocated()
    return int(peak)

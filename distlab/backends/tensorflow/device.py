"""The device that TensorFlow computes on, and what it tells of it. Not yet run on a GPU."""

import platform

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distlab.errors import DistlabError
from distlab.machine.ceiling import Multiply, device_rate
from distlab.machine.devices import driver

GPU = "GPU:0"


def choose(device: str, deterministic: bool = False) -> None:
    """Let TensorFlow see the first GPU alone (``gpu``) or none (``cpu``).

    With ``deterministic`` a GPU gives the same bits again.

    Raises
    ------
    distlab.errors.DistlabError
        If there is no GPU and one is asked for.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif gpus:
        tf.config.set_visible_devices(gpus[0], "GPU")
        tf.config.experimental.set_memory_growth(gpus[0], True)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
    else:
        raise DistlabError(
            asked="TensorFlow on a GPU",
            found=f"TensorFlow {tf.__version__} sees no GPU in this process, {driver.told()}",
            fix='install the GPU build: pip install "tensorflow[and-cuda]"\n'
            "or run on the CPU: device=cpu",
        )


def name(device: str) -> str:
    """The maker's name of the GPU, or what Python calls the CPU."""
    if device == "cpu":
        return platform.processor() or platform.machine()
    details = tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0])
    return str(details.get("device_name", "GPU"))


def product_rate(device: str, dtype: tf.DType = tf.float32) -> float:
    """See :meth:`distlab.backends.base.Backend.matrix_product_rates`."""

    def prepare(array: NDArray[np.float32]) -> Multiply:
        matrix = tf.cast(array, dtype)
        return lambda: tf.linalg.matmul(matrix, matrix)

    def wait(product: tf.Tensor) -> None:
        if device == "gpu":
            product[0, 0].numpy()  # which comes after all that was started before

    with tf.device(GPU if device == "gpu" else "CPU:0"):
        return device_rate(device, prepare, wait)


def peak_memory() -> int:
    """See :meth:`distlab.backends.base.Backend.peak_device_memory`."""
    peak = tf.config.experimental.get_memory_info(GPU)["peak"]
    tf.config.experimental.reset_memory_stats(GPU)
    return int(peak)

"""What the machine can do at best: the ceiling that a run's arithmetic is held against.

Libraries differ in how fast they multiply matrices, on some processors by a factor of two. So the
ceiling is the best rate that any library in the process reaches: NumPy's BLAS
(:func:`matrix_product_rate`) and what the framework has
(:meth:`distlab.backends.base.Backend.matrix_product_rates`).
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMPY = "NumPy's BLAS"
SIZES = {"cpu": (512, 1024), "gpu": (4096,)}
"""Rows and columns of the matrices: where others disturb a core, small products are undisturbed
more often."""
SECONDS = {"cpu": 0.3, "gpu": 1.0}
"""For about how long a library's products are repeated. A GPU's clocks rise meanwhile."""
PRODUCTS = {"cpu": 1, "gpu": 10}
"""How many are started before they are waited for: a wait for a GPU takes some 10 microseconds, a
product in TensorFloat-32 some hundreds."""

Multiply = Callable[[], object]


def device_rate(
    device: str,
    prepare: Callable[[NDArray[np.float32]], Multiply],
    wait: Callable[[Any], object] = lambda _: None,
) -> float:
    """:func:`best_rate` with the sizes, the time and the number of products for a device.

    Parameters
    ----------
    device:
        ``cpu`` or ``gpu``.
    prepare:
        Takes a matrix, and gives what multiplies it by itself, or has the device do so.
    wait:
        Returns when the device has done its work; it is given the last product.
    """
    count = PRODUCTS[device]

    def several(matrix: NDArray[np.float32]) -> Multiply:
        multiply = prepare(matrix)

        def run() -> None:
            for _ in range(count):
                last = multiply()
            wait(last)

        return run

    return count * best_rate(several, SIZES[device], SECONDS[device])


def best_rate(
    prepare: Callable[[NDArray[np.float32]], Multiply],
    sizes: Sequence[int] = SIZES["cpu"],
    seconds: float = SECONDS["cpu"],
) -> float:
    """The best of several float32 matrix products.

    A product of two n x n matrices takes n^3 multiplications and n^3 additions, so 2 n^3
    operations (Blackford & Dongarra, Installation Guide for LAPACK, LAPACK Working Note 41,
    operation counts, table 2, SGEMM).

    Parameters
    ----------
    prepare:
        Takes a matrix, and gives what multiplies it by itself and returns when that is done.
    sizes:
        n, rows and columns of the matrices, at least 1.
    seconds:
        For about how long products are repeated, over all sizes, after a first one of each that
        is not counted; at least one is.

    Returns
    -------
    float
        Operations of one product over the shortest time that one took, in floating-point
        operations per second.
    """
    return max(_rate(prepare(operand(size)), size, seconds / len(sizes)) for size in sizes)


def operand(size: int) -> NDArray[np.float32]:
    """A matrix of ordinary numbers in [-1, 1); processors may be faster or slower at others."""
    matrix = np.arange(size * size, dtype=np.float32).reshape(size, size)
    matrix *= 2 / size**2  # in place: what is freed here still counts in the peak of memory
    matrix -= 1
    return matrix


def _rate(multiply: Multiply, size: int, seconds: float) -> float:
    multiply()  # the first one may load libraries
    shortest = math.inf
    end = time.perf_counter() + seconds
    while shortest == math.inf or time.perf_counter() < end:
        start = time.perf_counter()
        multiply()
        shortest = min(shortest, time.perf_counter() - start)
    return 2 * size**3 / shortest


def matrix_product_rate(
    threads: int, sizes: Sequence[int] = SIZES["cpu"], seconds: float = SECONDS["cpu"]
) -> float:
    """How fast this process multiplies float32 matrices by NumPy's BLAS.

    It may be called beside a framework: the threads of every BLAS library that the process has
    loaded are limited for the time of the measurement, and set back afterwards.

    Parameters
    ----------
    threads:
        BLAS threads to compute with.
    sizes, seconds:
        See :func:`best_rate`, as for what is returned.

    Raises
    ------
    ValueError
        If ``threads`` or a size is below 1.
    """
    if threads < 1 or min(sizes) < 1:
        raise ValueError(f"threads and sizes must be at least 1, are {threads} and {sizes}")

    def prepare(matrix: NDArray[np.float32]) -> Multiply:
        product = np.empty_like(matrix)
        return lambda: np.matmul(matrix, matrix, out=product)

    with _blas_threads(threads):
        return best_rate(prepare, sizes, seconds)


def _blas_threads(threads: int) -> AbstractContextManager[Any]:
    """Limit them; where there is no threadpoolctl (``make gpu-check``), the environment has."""
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return nullcontext()
    return threadpool_limits(threads, user_api="blas")

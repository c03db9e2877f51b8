"""What the machine can do at best: the ceiling that a run's arithmetic is held against.

Libraries differ in how fast they multiply matrices, on some processors by a factor of two. So the
ceiling is the best rate that any library in the process reaches: NumPy's BLAS
(:func:`matrix_product_rate`) and what the framework has
(:meth:`distlab.backends.base.Backend.matrix_product_rates`).
"""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

NUMPY = "NumPy's BLAS"
SIZES = {"cpu": (512, 1024), "gpu": (4096,)}
"""Rows and columns of the matrices: where others disturb a core, small products are undisturbed
more often."""
SECONDS = 0.3
"""For about how long a library's products are repeated. A GPU's clocks rise meanwhile."""

Multiply = Callable[[], object]


def best_rate(
    prepare: Callable[[NDArray[np.float32]], Multiply],
    sizes: Sequence[int] = SIZES["cpu"],
    seconds: float = SECONDS,
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
    threads: int, sizes: Sequence[int] = SIZES["cpu"], seconds: float = SECONDS
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

    with threadpool_limits(threads, user_api="blas"):
        return best_rate(prepare, sizes, seconds)

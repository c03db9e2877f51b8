"""What the machine can do at best: the ceiling that a run's arithmetic is held against."""

import math
import time

import numpy as np
from threadpoolctl import threadpool_limits


def matrix_product_rate(threads: int, size: int = 1024, seconds: float = 0.3) -> float:
    """How fast this process multiplies float32 matrices (BLAS ``sgemm`` of NumPy).

    A product of two n x n matrices takes n^3 multiplications and n^3 additions, so 2 n^3
    operations (Blackford & Dongarra, Installation Guide for LAPACK, LAPACK Working Note 41,
    operation counts, table 2, SGEMM).

    It may be called beside a framework: the threads of every BLAS library that the process has
    loaded are limited for the time of the measurement, and set back afterwards.

    Parameters
    ----------
    threads:
        BLAS threads to compute with.
    size:
        n, rows and columns of the matrices.
    seconds:
        For about how long products are repeated after a first one that is not counted; at least
        one is.

    Returns
    -------
    float
        Operations of one product over the shortest time that one took, in floating-point
        operations per second.

    Raises
    ------
    ValueError
        If ``threads`` or ``size`` is below 1.
    """
    if threads < 1 or size < 1:
        raise ValueError(f"threads and size must be at least 1, are {threads} and {size}")
    # Ordinary numbers: some processors are faster or slower at zeros and subnormal numbers.
    matrix = np.arange(size * size, dtype=np.float32).reshape(size, size)
    matrix *= 2 / size**2  # in place: what is freed here still counts in the peak of memory
    matrix -= 1
    product = np.empty_like(matrix)
    shortest = math.inf
    with threadpool_limits(threads, user_api="blas"):
        np.matmul(matrix, matrix, out=product)
        end = time.perf_counter() + seconds
        while shortest == math.inf or time.perf_counter() < end:
            start = time.perf_counter()
            np.matmul(matrix, matrix, out=product)
            shortest = min(shortest, time.perf_counter() - start)
    return 2 * size**3 / shortest

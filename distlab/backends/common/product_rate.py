"""How fast a GPU multiplies float32 matrices: the same product, as often, in every framework.

Not yet run on a GPU.
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIZE = 4096
"""Rows and columns of the matrices."""
PRODUCTS = 100
"""How many are timed; the best of them counts. A GPU's clocks rise in the course of them."""


def operand() -> NDArray[np.float32]:
    """The matrix ``[SIZE, SIZE]`` that is multiplied by itself, with values in [-1, 1]."""
    return np.linspace(-1, 1, SIZE**2, dtype=np.float32).reshape(SIZE, SIZE)


def best_rate(multiply: Callable[[], None]) -> float:
    """The best of several products, in floating-point operations per second.

    A product of n x n matrices counts 2 n^3 operations, as in
    :func:`distlab.machine.ceiling.matrix_product_rate`.

    Parameters
    ----------
    multiply:
        Multiplies :func:`operand` by itself, and returns once the device has done it.
    """
    multiply()  # the first one loads the libraries
    seconds = []
    for _ in range(PRODUCTS):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(seconds)

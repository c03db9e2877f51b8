"""NumPy arrays as TensorFlow tensors without a copy.

``tf.convert_to_tensor`` copies. DLPack does not, but NumPy exports no read-only array through it
(its version 0 has no word for read-only); so it is lent a view that does not say so.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

ALIGNMENT = 64
"""Bytes; TensorFlow's CPU kernels abort the process on a tensor that begins elsewhere."""


class _Lent:
    """Describes an array's memory as writable (NumPy's array interface protocol, version 3)."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # keeps the memory, for as long as a view of it lives
        described = array.__array_interface__
        self.__array_interface__ = {**described, "data": (described["data"][0], False)}


def shared(array: NDArray[Any]) -> tf.Tensor:
    """A tensor on the CPU in the memory of a C-contiguous array, which may be read-only.

    The tensor keeps the array alive. Nothing may write to it: a TensorFlow operation only does to a
    variable, or to a temporary tensor that nobody else holds. An array that is empty or does not
    begin at a multiple of :data:`ALIGNMENT` is copied.
    """
    if array.size == 0 or array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous:
        return tf.convert_to_tensor(array)
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Lent(array)).__dlpack__())

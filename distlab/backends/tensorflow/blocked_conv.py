"""Few-channel convolutions with max-pooling on CPUs: blocks of neighbouring pixels as channels.

The CPU kernels of oneDNN fill vector registers (16 float32 with AVX-512) with channels; with 6
channels, as in LeNet-5, most of a register is empty, and max-pooling is slowest of all. So a
convolution whose output is pooled computes a block of output pixels at once: its weight, shifted to
each pixel's place in the block, becomes one with more output channels, moved by whole blocks. The
pixels of a pooling window then lie in channels, and rows of the pooled image can stay folded into
channels for the next convolution. Equal convolutions on space-to-depth data with rearranged weights
are what makers of accelerators advise for few channels (Qualcomm, HTP guidelines, "Use
Space-to-depth transformation where possible"); here the output is rearranged, too.

Every output is the same sum of products, with products by zero added, and rounded no worse. Equal
values of a pooling window yield to the first in row-major order, as in ``tf.nn.max_pool2d``.
(Where patches are equal, rounding may part their outputs, in any kernel: that decides whose patch
the weight's gradient is made from, but these are equal.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distlab.models.layers import Conv2D, Layer, MaxPool2D, ReLU, Shape
from distlab.models.spec import ModelSpec

LANES = 16
"""Values of float32 in a vector register of 512 bits."""


@dataclass(frozen=True)
class BlockedPool:
    """A convolution, its bias and its max-pooling, computed by blocks of output pixels.

    Attributes
    ----------
    layer, pool:
        The convolution, and the side of the pooling's window.
    folded:
        Input rows in the channels: the input is ``[n, height / folded, width, folded * in]``.
    rows:
        Output rows of a block, before pooling.
    columns:
        Output columns of a block: ``pool``, or 1 where columns are not blocked.
    """

    layer: Conv2D
    pool: int
    folded: int
    rows: int
    columns: int

    @property
    def pooled_rows(self) -> int:
        """Rows of a block after pooling; the output has as many in its channels."""
        return self.rows // self.pool

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the block's kernel."""
        return self.layer.kernel + self.rows - 1, self.layer.kernel + self.columns - 1

    def selection(self) -> NDArray[np.float32]:
        """1 where the block's kernel takes an element of the layer's for a pixel, else 0.

        ``[rows * columns of the block's kernel * pixels of the block, kernel * kernel]``. Pixels
        stand in the order of window row, window column, pooled row.
        """
        size, pixels = self.layer.kernel, (self.pool, self.columns, self.pooled_rows)
        found = np.zeros((*self.kernel, *pixels, size, size), np.float32)
        for i, j, pooled_row in np.ndindex(pixels):
            top = pooled_row * self.pool + i
            for y, x in np.ndindex(size, size):
                found[top + y, j + x, i, j, pooled_row, y, x] = 1
        return found.reshape(-1, size * size)

    def weight(self, weight: tf.Tensor) -> tf.Tensor:
        """The block's weight, from the layer's ``[kernel, kernel, in, out]``."""
        size, inputs, outputs = (
            self.layer.kernel,
            self.layer.in_channels,
            self.layer.out_channels,
        )
        height, width = self.kernel
        pixels = self.rows * self.columns
        moved = tf.matmul(self.selection(), tf.reshape(weight, [size * size, inputs * outputs]))
        shape = [height // self.folded, self.folded, width, pixels, inputs, outputs]
        moved = tf.transpose(tf.reshape(moved, shape), [0, 2, 1, 4, 3, 5])
        channels = [self.folded * inputs, pixels * outputs]
        return tf.reshape(moved, [height // self.folded, width, *channels])

    def __call__(
        self, x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, compute: tf.DType
    ) -> tf.Tensor:
        """``[n, height / pooled_rows, width, pooled_rows * out]`` of the pooled image."""
        x = tf.nn.conv2d(
            tf.cast(x, compute),
            tf.cast(self.weight(weight), compute),
            strides=(self.rows // self.folded, self.columns),
            padding="SAME" if self.layer.padding else "VALID",
        )
        x = tf.cast(x, tf.float32)
        if self.columns == 1:
            # First along rows, then across them: ties then go to the window's first pixel, too.
            x = tf.nn.max_pool2d(x, (1, self.pool), (1, self.pool), "VALID")
        height, width = x.shape[1:3]
        window, channels = self.pool * self.columns, self.pooled_rows * self.layer.out_channels
        # All windows in one long row, because the pooling kernel is called for each row.
        x = tf.reshape(x, [-1, 1, height * width * window, channels])
        x = tf.nn.max_pool2d(x, (1, window), (1, window), "VALID")
        # Behind the pooling there are fewer values, and rounding keeps the order of sums.
        x = tf.reshape(x, [-1, height, width, channels])
        return tf.nn.bias_add(x, tf.tile(bias, [self.pooled_rows]))


def blocked(spec: ModelSpec, layers: Sequence[Layer]) -> dict[int, BlockedPool]:
    """The convolutions to compute by blocks, by their place in ``layers``.

    ``layers`` are the spec's, each max-pool before its ReLU. All convolutions are blocked, or none:
    they must be what the model begins with, each with a max-pool behind it, the first with fewer
    channels than a register has lanes, the others without padding; and all sizes must divide.
    """
    places = [place for place, layer in enumerate(layers) if isinstance(layer, Conv2D)]
    if not places:
        return {}
    begin = [layer for layer in layers[: places[-1] + 2] if layer != ReLU()]
    convs, pools = begin[::2], begin[1::2]
    found: dict[int, BlockedPool] = {}
    shape: Shape = spec.input_shape
    sides = [pool.size for pool in pools if isinstance(pool, MaxPool2D) and pool.is_plain]
    if not len(places) == len(convs) == len(sides):
        return {}
    for place, conv, side, following in zip(places, convs, sides, [*sides[1:], 1], strict=True):
        if not (isinstance(conv, Conv2D) and conv.stride == conv.groups == 1 and conv.bias):
            return {}
        first = not found
        block = BlockedPool(
            conv,
            side,
            folded=1 if first else side,
            rows=side * following,
            columns=side if first else 1,
        )
        height, width = conv.output_shape(shape)[1:]
        divides = (
            shape[1] % block.folded == block.kernel[0] % block.folded == height % block.rows == 0
            and width % side == 0
        )
        padding = 2 * conv.padding in (0, conv.kernel - 1) if first else conv.padding == 0
        narrow = not first or conv.out_channels < LANES
        if not (divides and padding and narrow and isinstance(layers[place + 1], MaxPool2D)):
            return {}
        found[place] = block
        shape = (conv.out_channels, height // side, width // side)
    return found

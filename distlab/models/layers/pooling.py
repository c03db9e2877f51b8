"""Layers that sum up windows or whole samples."""

from dataclasses import dataclass

from .base import IMAGE, VECTOR, Layer, MisfitError, Shape, told, window_side


@dataclass(frozen=True)
class _Pool2D(Layer):
    """Windows of ``size`` x ``size``, ``stride`` apart (None: side by side).

    What is left of the sides at their end, where ``stride`` does not divide them, is not looked at.
    """

    size: int
    stride: int | None = None
    padding: int = 0

    @property
    def step(self) -> int:
        """How far one window is from the next."""
        return self.stride or self.size

    @property
    def is_plain(self) -> bool:
        """Whether windows neither overlap, nor leave gaps, nor are padded."""
        return self.step == self.size and self.padding == 0

    def tiles(self, shape: Shape) -> bool:
        """Whether the windows are plain and cover each value of a sample once."""
        return self.is_plain and shape[1] % self.size == shape[2] % self.size == 0

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`."""
        if len(shape) != IMAGE:
            raise MisfitError(
                f"expects a sample (channels, height, width), is given {shape}",
                "pooling stands before flatten and patch_embedding",
            )
        channels, *sides = shape
        height, width = (window_side(side, self.size, self.step, self.padding) for side in sides)
        if min(height, width) < 1:
            raise MisfitError(
                f"its window of {self.size} x {self.size} is larger than {told(shape)}",
                f"size: {min(sides) + 2 * self.padding} or less, or larger images",
            )
        return (channels, height, width)

    def check(self) -> None:
        """See :class:`Layer`: padding fills at most half a window."""
        super().check()
        if 2 * self.padding > self.size:
            raise MisfitError(
                f"padding={self.padding} is more than half of size={self.size}: "
                "a window could lie in it",
                f"padding: {self.size // 2} or less",
            )


@dataclass(frozen=True)
class MaxPool2D(_Pool2D):
    """The maximum of each window.

    Padding is never the maximum. Among equal maxima the first in row-major order receives the
    gradient.
    """


@dataclass(frozen=True)
class AvgPool2D(_Pool2D):
    """The mean of each window's ``size * size`` values, zeros of the padding among them."""


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean of each channel over an image, or of each feature over a sequence's tokens."""

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`: a vector of channels, or of the sequence's width."""
        if len(shape) == VECTOR:
            raise MisfitError(
                f"expects an image or a sequence, is given {told(shape)}",
                "global_avg_pool stands before flatten, or instead of it",
            )
        return shape[:1] if len(shape) == IMAGE else shape[-1:]

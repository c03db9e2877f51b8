"""Layers around which the input goes: residual blocks, and a shortcut without parameters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .base import IMAGE, Layer, MisfitError, Shape, told


@dataclass(frozen=True)
class Shrink(Layer):
    """Every ``stride``-th row and column, and channels of zeros behind those that are there.

    The shortcut "option A" of He et al. (2016), "Deep Residual Learning for Image Recognition",
    section 3.3: it changes the shape and has no parameters.
    """

    in_channels: int
    out_channels: int
    stride: int

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`."""
        if len(shape) != IMAGE or shape[0] != self.in_channels:
            expected = f"expects an image of {self.in_channels} channels"
            raise MisfitError(f"{expected}, is given {told(shape)}", "shortcut: identity")
        height, width = (-(-side // self.stride) for side in shape[1:])
        return (self.out_channels, height, width)

    def check(self) -> None:
        """See :class:`Layer`: channels are added, never taken."""
        super().check()
        if self.out_channels < self.in_channels:
            raise MisfitError(
                f"its {self.out_channels} output channels are fewer than the {self.in_channels} "
                "of the input",
                "shortcut: projection",
            )


@dataclass(frozen=True)
class Residual(Layer):
    """``body(x) + shortcut(x)``; without layers the shortcut is x itself.

    He et al. (2016), "Deep Residual Learning for Image Recognition", equations 1 and 2. What
    follows the sum, such as a ReLU, is a layer of its own.
    """

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`: those of the body, then those of the shortcut."""
        return {k: v for one in self.inner for k, v in one.parameters.items()}

    @property
    def buffers(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        return {k: v for one in self.inner for k, v in one.buffers.items()}

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return {k: v for one in self.inner for k, v in one.start_bounds.items()}

    @property
    def start_constants(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return {k: v for one in self.inner for k, v in one.start_constants.items()}

    @property
    def inner(self) -> tuple[Layer, ...]:
        """All layers within."""
        return (*self.body, *self.shortcut)

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`: body and shortcut give the same shape."""
        body, shortcut = (through(part, shape) for part in (self.body, self.shortcut))
        if body != shortcut:
            raise MisfitError(
                f"its layers make {told(body)}, its shortcut {told(shortcut)}",
                "shortcut: projection",
            )
        return body

    def multiply_adds(self, shape: Shape) -> int:
        """See :class:`Layer`."""
        return sum(
            layer.multiply_adds(given)
            for part in (self.body, self.shortcut)
            for layer, given in along(part, shape)
        )

    def training_multiply_adds(self, shape: Shape, gradient: bool) -> int:
        """See :class:`Layer`."""
        return sum(
            training_multiply_adds(part, shape, gradient) for part in (self.body, self.shortcut)
        )


def along(layers: Sequence[Layer], shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Each layer with the shape of its input, ``shape`` being that of the first one's."""
    for layer in layers:
        yield layer, shape
        shape = layer.output_shape(shape)


def through(layers: Sequence[Layer], shape: Shape) -> Shape:
    """The shape of one sample behind the last layer."""
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def training_multiply_adds(layers: Sequence[Layer], shape: Shape, gradient: bool) -> int:
    """Products of forward and backward pass of one sample through all layers.

    ``gradient``: that of the first layer's input is needed. That of a later one is, as soon as a
    layer before it has parameters.
    """
    found = 0
    for layer, given in along(layers, shape):
        found += layer.training_multiply_adds(given, gradient)
        gradient = gradient or bool(layer.parameters)
    return found

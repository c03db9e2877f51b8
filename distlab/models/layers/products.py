"""Layers that are one product with a weight: dense, convolution, patch embedding."""

import math
from dataclasses import dataclass

from .base import (
    IMAGE,
    Layer,
    MisfitError,
    Shape,
    divisors,
    he_bound,
    lecun_bound,
    told,
    window_side,
)


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer: ``y = x @ weight + bias``, weight ``[inputs, outputs]``.

    Of a sequence, each token by itself.
    """

    name: str
    inputs: int
    outputs: int

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        return {
            f"{self.name}.weight": (self.inputs, self.outputs),
            f"{self.name}.bias": (self.outputs,),
        }

    @property
    def fan_in(self) -> int:
        """How many inputs each output sums over."""
        return self.inputs

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return {f"{self.name}.weight": he_bound(self.fan_in), f"{self.name}.bias": 0.0}

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`: ``inputs`` is the input's last side."""
        if len(shape) == IMAGE or shape[-1:] != (self.inputs,):
            expected = f"expects a sample of shape ({self.inputs},), is given {shape}"
            raise MisfitError(expected, "- flatten\n- dense: ...")
        return (*shape[:-1], self.outputs)

    def multiply_adds(self, shape: Shape) -> int:
        """See :class:`Layer`."""
        return self.fan_in * math.prod(self.output_shape(shape))


@dataclass(frozen=True)
class Conv2D(Layer):
    """Cross-correlation with ``padding`` zeros on all four sides.

    The weight is ``[out_channels, in_channels / groups, kernel, kernel]`` (OIHW), the bias, where
    there is one, ``[out_channels]``. Group g of the outputs sums over group g of the inputs. Rows
    and columns at the end that no whole stride reaches are not looked at.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    padding: int = 0
    stride: int = 1
    groups: int = 1
    bias: bool = True

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        inputs = self.in_channels // self.groups
        weight = (self.out_channels, inputs, self.kernel, self.kernel)
        bias = {f"{self.name}.bias": (self.out_channels,)} if self.bias else {}
        return {f"{self.name}.weight": weight, **bias}

    @property
    def fan_in(self) -> int:
        """How many inputs each output sums over."""
        return self.in_channels // self.groups * self.kernel * self.kernel

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        bounds = {f"{self.name}.weight": he_bound(self.fan_in), f"{self.name}.bias": 0.0}
        return {name: bounds[name] for name in self.parameters}

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`."""
        if len(shape) != IMAGE or shape[0] != self.in_channels:
            expected = f"({self.in_channels}, height, width)"
            raise MisfitError(
                f"expects a sample of shape {expected}, is given {shape}",
                "convolutions stand before flatten and patch_embedding",
            )
        height, width = (
            window_side(side, self.kernel, self.stride, self.padding) for side in shape[1:]
        )
        if min(height, width) < 1:
            size, widest = f"{self.kernel}x{self.kernel}", min(shape[1:]) + 2 * self.padding
            raise MisfitError(
                f"its {size} kernel is larger than the padded sample {shape}",
                f"kernel: {widest} or less, or padding: "
                f"{(self.kernel - min(shape[1:]) + 1) // 2} or more, or larger images",
            )
        return (self.out_channels, height, width)

    def multiply_adds(self, shape: Shape) -> int:
        """See :class:`Layer`: products with padded zeros count."""
        return self.fan_in * math.prod(self.output_shape(shape))

    def check(self) -> None:
        """See :class:`Layer`: both numbers of channels are multiples of ``groups``."""
        super().check()
        if self.in_channels % self.groups or self.out_channels % self.groups:
            channels = f"{self.in_channels} and {self.out_channels} channels"
            both = math.gcd(self.in_channels, self.out_channels)
            raise MisfitError(
                f"groups={self.groups} does not divide {channels}",
                f"groups: one of {divisors(both)}",
            )


@dataclass(frozen=True)
class PatchEmbedding(Layer):
    """An image as a sequence: each square of ``patch`` pixels a side becomes a token.

    Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words", equation 1: every patch, flattened,
    times a matrix. Tokens stand in row-major order. The weight is ``[width, channels, patch,
    patch]`` (OIHW), for this is a convolution whose stride is its kernel; the bias ``[width]``.
    """

    name: str
    channels: int
    patch: int
    width: int

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        return {
            f"{self.name}.weight": (self.width, self.channels, self.patch, self.patch),
            f"{self.name}.bias": (self.width,),
        }

    @property
    def fan_in(self) -> int:
        """How many inputs each output sums over."""
        return self.channels * self.patch * self.patch

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return {f"{self.name}.weight": lecun_bound(self.fan_in), f"{self.name}.bias": 0.0}

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`: ``patch`` divides height and width."""
        if len(shape) != IMAGE or shape[0] != self.channels:
            expected = f"({self.channels}, height, width)"
            raise MisfitError(
                f"expects a sample of shape {expected}, is given {shape}",
                "a patch_embedding stands where its input is an image",
            )
        if shape[1] % self.patch or shape[2] % self.patch:
            both = divisors(math.gcd(*shape[1:]))
            raise MisfitError(
                f"patches of {self.patch} x {self.patch} do not divide {told(shape)}",
                f"patch: one of {both}",
            )
        return (shape[1] // self.patch * (shape[2] // self.patch), self.width)

    def multiply_adds(self, shape: Shape) -> int:
        """See :class:`Layer`."""
        return self.fan_in * math.prod(self.output_shape(shape))

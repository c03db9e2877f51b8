"""The kinds of layers: parameters, their start values, what a layer sums over, its output's shape.

Each is a frozen dataclass of sizes. A backend's ``model.py`` says what its framework makes of each,
the float64 reference (:mod:`distlab.fairness.reference`) what each computes.

Canonical layout: dense weight ``[inputs, outputs]``; convolution weight ``[out_channels,
in_channels, height, width]`` (OIHW); images ``[n, channels, height, width]`` (NCHW); flattening
goes in channel, height, width order.
"""

import math
from dataclasses import dataclass
from typing import get_args

Shape = tuple[int, ...]
"""The shape of one sample, without the batch dimension."""


def he_bound(fan_in: int) -> float:
    """Half the width of uniform weights whose variance is ``2 / fan_in``: ``sqrt(6 / fan_in)``.

    He et al. (2015), "Delving Deep into Rectifiers", equation 10, forward case.
    """
    return math.sqrt(6.0 / fan_in)


@dataclass(frozen=True)
class Dense:
    """Fully connected layer: ``y = x @ weight + bias``, weight ``[inputs, outputs]``."""

    name: str
    inputs: int
    outputs: int

    @property
    def parameters(self) -> dict[str, Shape]:
        """Canonical shape by parameter name."""
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
        """Half the width of each parameter's uniform start values; 0 for a parameter of zeros."""
        return {f"{self.name}.weight": he_bound(self.fan_in), f"{self.name}.bias": 0.0}

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output sample; ValueError if ``shape`` is not ``(inputs,)``."""
        if shape != (self.inputs,):
            raise ValueError(f"expects a sample of shape ({self.inputs},), is given {shape}")
        return (self.outputs,)


@dataclass(frozen=True)
class Conv2D:
    """Cross-correlation with stride 1, bias, and ``padding`` zeros on all four sides.

    The weight is ``[out_channels, in_channels, kernel, kernel]`` (OIHW), the bias
    ``[out_channels]``.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    padding: int = 0

    @property
    def parameters(self) -> dict[str, Shape]:
        """Canonical shape by parameter name."""
        return {
            f"{self.name}.weight": (self.out_channels, self.in_channels, self.kernel, self.kernel),
            f"{self.name}.bias": (self.out_channels,),
        }

    @property
    def fan_in(self) -> int:
        """How many inputs each output sums over."""
        return self.in_channels * self.kernel * self.kernel

    @property
    def start_bounds(self) -> dict[str, float]:
        """Half the width of each parameter's uniform start values; 0 for a parameter of zeros."""
        return {f"{self.name}.weight": he_bound(self.fan_in), f"{self.name}.bias": 0.0}

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output sample; ValueError if the input's shape does not fit."""
        if len(shape) != 3 or shape[0] != self.in_channels:
            expected = f"({self.in_channels}, height, width)"
            raise ValueError(f"expects a sample of shape {expected}, is given {shape}")
        height, width = (side + 2 * self.padding - self.kernel + 1 for side in shape[1:])
        if min(height, width) < 1:
            size = f"{self.kernel}x{self.kernel}"
            raise ValueError(f"its {size} kernel is larger than the padded sample {shape}")
        return (self.out_channels, height, width)


@dataclass(frozen=True)
class ReLU:
    """Rectifier: ``max(x, 0)``; its derivative at 0 is taken as 0."""

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output sample: the input's."""
        return shape


@dataclass(frozen=True)
class MaxPool2D:
    """Maximum over non-overlapping ``size`` x ``size`` windows.

    ``size`` must divide height and width, for frameworks treat a remainder differently. Among
    equal maxima the first in row-major order receives the gradient.
    """

    size: int

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output sample; ValueError if the input's shape does not fit."""
        if len(shape) != 3:
            raise ValueError(f"expects a sample (channels, height, width), is given {shape}")
        channels, height, width = shape
        if height % self.size or width % self.size:
            raise ValueError(f"its size {self.size} does not divide the sides of {shape}")
        return (channels, height // self.size, width // self.size)


@dataclass(frozen=True)
class Flatten:
    """One vector per sample, in channel, height, width order."""

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output sample: ``(product of the input's sides,)``."""
        return (math.prod(shape),)


Trainable = Dense | Conv2D
"""Any layer with a name, parameters and start values."""

Layer = Trainable | ReLU | MaxPool2D | Flatten
"""Any layer that a spec may hold."""

LAYERS: dict[str, type[Layer]] = {kind.__name__: kind for kind in get_args(Layer)}
"""The layer types by the name that :meth:`ModelSpec.to_dict` gives them."""

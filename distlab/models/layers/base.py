"""What every kind of layer tells of itself, and the error of one that does not fit its input."""

import math
from dataclasses import Field, fields
from typing import Any, ClassVar

Shape = tuple[int, ...]
"""The shape of one sample, without the batch: an image ``(channels, height, width)``, a sequence
``(tokens, width)`` or a vector ``(features,)``."""

IMAGE, SEQUENCE, VECTOR = 3, 2, 1
"""How many sides a sample of each sort has."""


class MisfitError(ValueError):
    """A layer that its input's shape does not fit.

    Attributes
    ----------
    fits:
        What would fit, as lines of a model's file.
    """

    def __init__(self, found: str, fits: str) -> None:
        super().__init__(found)
        self.fits = fits


class Layer:
    """The part of every layer: no parameters, and a result of its input's shape.

    A kind of layer is a frozen dataclass that derives from this one; its fields are its sizes.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def parameters(self) -> dict[str, Shape]:
        """Canonical shape of what is trained, by name."""
        return {}

    @property
    def buffers(self) -> dict[str, Shape]:
        """Canonical shape of what training changes beside parameters (running statistics)."""
        return {}

    @property
    def start_bounds(self) -> dict[str, float]:
        """Half the width of each parameter's uniform start values; 0: all have one value."""
        return {}

    @property
    def start_constants(self) -> dict[str, float]:
        """The one value that each such parameter or buffer starts from, where it isn't 0."""
        return {}

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output sample; MisfitError if the input's shape does not fit."""
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        """Products that the forward pass of one sample sums up, ``shape`` being its input's."""
        return 0

    def training_multiply_adds(self, shape: Shape, gradient: bool) -> int:
        """The same of forward and backward pass; ``gradient``: the input's is needed, too.

        The gradients of the weight and of the input cost one forward pass each.
        """
        return (3 if gradient else 2) * self.multiply_adds(shape)

    def check(self) -> None:
        """Refuse sizes that mean nothing: ValueError, naming the size."""
        for one in fields(self):
            value, lowest = getattr(self, one.name), 0 if one.name == "padding" else 1
            if isinstance(value, int) and not isinstance(value, bool) and value < lowest:
                raise ValueError(f"{one.name} must be at least {lowest}, is {value}")
            if isinstance(value, float) and not (0 < value < math.inf):
                raise ValueError(f"{one.name} must be a positive number, is {value}")


def he_bound(fan_in: int) -> float:
    """Half the width of uniform weights whose variance is ``2 / fan_in``: ``sqrt(6 / fan_in)``.

    He et al. (2015), "Delving Deep into Rectifiers", equation 10, forward case.
    """
    return math.sqrt(6.0 / fan_in)


def lecun_bound(fan_in: int) -> float:
    """Half the width of uniform weights whose variance is ``1 / fan_in``: ``sqrt(3 / fan_in)``.

    LeCun et al. (1998), "Efficient BackProp", equation 16: for sums that no ReLU follows.
    """
    return math.sqrt(3.0 / fan_in)


def told(shape: Shape) -> str:
    """A shape as people read it: ``an image of 16 x 4 x 4 (channels x height x width)``."""
    sides = " x ".join(map(str, shape))
    match len(shape):
        case 3:
            return f"an image of {sides} (channels x height x width)"
        case 2:
            return f"a sequence of {sides} (tokens x width)"
        case _:
            return f"a vector of {sides}"


def window_side(side: int, kernel: int, stride: int, padding: int) -> int:
    """How many windows fit on one side; what is left at its end is dropped."""
    return (side + 2 * padding - kernel) // stride + 1


def divisors(number: int) -> str:
    """All divisors, as ``1, 2, 4``."""
    return ", ".join(str(one) for one in range(1, number + 1) if number % one == 0)

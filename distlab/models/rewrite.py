"""Rewrites of a model that change no value: every backend runs the layers in this order."""

from collections.abc import Sequence

from distlab.models.layers import Layer, MaxPool2D, ReLU


def pool_first(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Put a ReLU that stands before a max-pool behind it, where it has fewer values to do.

    Values and gradients stay the same, bit for bit: ReLU keeps the order of its inputs, so that the
    maximum is taken at the same place, and where that maximum is not positive no gradient passes in
    either order.

    >>> pool_first([ReLU(), MaxPool2D(2), ReLU()])
    (MaxPool2D(size=2), ReLU(), ReLU())
    """
    found = list(layers)
    for position in range(len(found) - 1):
        if isinstance(found[position], ReLU) and isinstance(found[position + 1], MaxPool2D):
            found[position : position + 2] = found[position + 1], found[position]
    return tuple(found)

"""How TensorFlow stores a model's parameters, and which flattenings need no moving of values.

Images are NHWC and convolution weights HWIO, the layouts of TensorFlow's CPU kernels; on a GPU its
layout optimizer transposes where cuDNN prefers another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distlab.models.layers import (
    GELU,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    PatchEmbedding,
    ReLU,
    Residual,
    Shape,
    Sigmoid,
    Tanh,
)
from distlab.models.layers.residual import along
from distlab.models.spec import ModelSpec


@dataclass(frozen=True)
class Layout:
    """How one parameter is stored: reshape to ``axes``, permute by ``order``, then ``stored``.

    Convolution weights go from OIHW to HWIO. The rows of the dense layer behind a ``Flatten`` go
    from channel, height, width to height, width, channel order, in which NHWC images are flattened.
    """

    canonical: tuple[int, ...]
    axes: tuple[int, ...]
    order: tuple[int, ...]
    stored: tuple[int, ...]

    def to_stored(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """The canonical array as it is stored."""
        return array.reshape(self.axes).transpose(self.order).reshape(self.stored)

    def to_canonical(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inverse of :meth:`to_stored`, as a C-contiguous copy."""
        permuted = array.reshape([self.axes[axis] for axis in self.order])
        return permuted.transpose(np.argsort(self.order)).reshape(self.canonical).copy("C")


def layouts(spec: ModelSpec) -> dict[str, Layout]:
    """The layout of each parameter and running statistic by name, in the spec's order."""
    found = {
        name: Layout(shape, shape, tuple(range(len(shape))), shape)
        for name, shape in spec.arrays.items()
    }
    for layer in spec.all_layers:
        if isinstance(layer, Conv2D | PatchEmbedding):
            name = f"{layer.name}.weight"
            o, i, h, w = spec.parameters[name]
            found[name] = Layout((o, i, h, w), (o, i, h, w), (2, 3, 1, 0), (h, w, i, o))
    for dense, flattened in _behind_flatten(spec.layers, spec.input_shape):
        weight = (dense.inputs, dense.outputs)
        axes = (*flattened, dense.outputs)
        found[f"{dense.name}.weight"] = Layout(weight, axes, (1, 2, 0, 3), weight)
    return found


def absorbing(layers: Sequence[Layer], place: int) -> Dense | None:
    """The dense layer whose weight's rows can be moved instead of what a ``Flatten`` flattens.

    None where something stands between the two that knows one place of the vector from another.
    """
    for layer in layers[place + 1 :]:
        if isinstance(layer, Dense):
            return layer
        if not isinstance(layer, ReLU | GELU | Tanh | Sigmoid | Flatten):
            return None
    return None


def _behind_flatten(layers: Sequence[Layer], shape: Shape) -> Iterator[tuple[Dense, Shape]]:
    """Such dense layers, each with the shape of the image that is flattened."""
    for place, (layer, given) in enumerate(along(layers, shape)):
        if isinstance(layer, Residual):
            yield from _behind_flatten(layer.body, given)
        elif isinstance(layer, Flatten) and len(given) == 3:
            dense = absorbing(layers, place)
            if dense is not None:
                yield dense, given

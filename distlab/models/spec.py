"""Framework-neutral model specifications: which layers, which parameters, how many operations.

A :class:`ModelSpec` is a plain list of layers. Every backend builds its framework's model from it
and the float64 oracle in :mod:`distlab.fairness.reference` computes the same mathematics in NumPy.

The kinds of layers and the canonical layout are in :mod:`distlab.models.layers`. The last layer's
outputs are the logits: softmax belongs to the loss.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

# Relative, because these modules also travel with a saved model, under another package's name.
from .layers import LAYERS, Layer, Residual, Shape, Trainable
from .layers.residual import along, training_multiply_adds


@dataclass(frozen=True)
class ModelSpec:
    """A classifier: its layers in order, from an image to logits.

    Attributes
    ----------
    name:
        What users call it (``model=<name>``).
    layers:
        The layers, first to last.
    input_shape:
        Channels, height and width of one image.

    Raises
    ------
    ValueError
        At construction, naming the layer: if a size is not positive, two layers share a name, a
        layer does not fit the one before it, or the model does not end in one vector per sample.
    """

    name: str
    layers: tuple[Layer, ...]
    input_shape: Shape = (1, 28, 28)

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            expected = "three positive sizes (channels, height, width)"
            raise ValueError(f"model {self.name!r}: input_shape must be {expected}")
        names: set[str] = set()
        for label, layer in _labelled(f"model {self.name!r}, ", self.layers):
            try:
                layer.check()
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None
            if isinstance(layer, Trainable):
                if not layer.name or layer.name in names:
                    raise ValueError(f"{label}: its name is empty or taken by an earlier layer")
                names.add(layer.name)
        if not names:
            raise ValueError(f"model {self.name!r}: no layer has parameters to train")
        shapes = self.shapes()
        if len(shapes[-1]) != 1:
            raise ValueError(f"{label}: the last layer must give a vector, gives {shapes[-1]}")

    def shapes(self) -> tuple[Shape, ...]:
        """The shape of one sample after each layer (one entry per layer)."""
        shapes: list[Shape] = []
        shape = self.input_shape
        for place, layer in enumerate(self.layers):
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                label = _label(f"model {self.name!r}, ", place, layer)
                raise ValueError(f"{label}: {error}") from None
            shapes.append(shape)
        return tuple(shapes)

    @property
    def classes(self) -> int:
        """Number of logits per sample."""
        return self.shapes()[-1][0]

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """Every layer, those within residual blocks too, each behind what it is in."""
        return tuple(layer for _, layer in _labelled("", self.layers))

    @property
    def trainable(self) -> tuple[Trainable, ...]:
        """The layers that have parameters of their own, in order."""
        return tuple(layer for layer in self.all_layers if isinstance(layer, Trainable))

    @property
    def parameters(self) -> dict[str, Shape]:
        """Canonical shape of every parameter by name (``dense1.weight``), in layer order."""
        return {name: shape for layer in self.layers for name, shape in layer.parameters.items()}

    @property
    def buffers(self) -> dict[str, Shape]:
        """Canonical shape of every running statistic by name (``batch_norm1.mean``)."""
        return {name: shape for layer in self.layers for name, shape in layer.buffers.items()}

    @property
    def arrays(self) -> dict[str, Shape]:
        """Parameters, then running statistics: all that a trained model consists of."""
        return {**self.parameters, **self.buffers}

    @property
    def start_bounds(self) -> dict[str, float]:
        """Half the width of each parameter's uniform start values, in layer order; 0: one value."""
        return {name: bound for layer in self.layers for name, bound in layer.start_bounds.items()}

    @property
    def start_constants(self) -> dict[str, float]:
        """What arrays of one value start from; those that aren't named, from 0."""
        return {
            name: value for layer in self.layers for name, value in layer.start_constants.items()
        }

    @property
    def parameter_count(self) -> int:
        """Number of trainable scalars."""
        return sum(math.prod(shape) for shape in self.parameters.values())

    @property
    def multiply_adds(self) -> int:
        """Products that the forward pass of one sample sums up, the usual size of a model."""
        return sum(layer.multiply_adds(shape) for layer, shape in self.along())

    @property
    def training_flops(self) -> int:
        """Floating-point operations of the forward and backward pass of one sample.

        Convention: a multiply-add counts as 2; only matrix products and convolutions count (not
        bias, activation, pooling, normalization, loss or the optimizer's update); products with
        padded zeros count. The gradient of the weight and that of the input cost one forward pass
        each; where no layer before has parameters, that of the input is not needed.
        """
        return 2 * training_multiply_adds(self.layers, self.input_shape, gradient=False)

    def along(self) -> Iterator[tuple[Layer, Shape]]:
        """Each layer with the shape of its input."""
        return along(self.layers, self.input_shape)

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 of all but the name."""
        values = {name: value for name, value in self.to_dict().items() if name != "name"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-able values; :meth:`from_dict` reads it back.

        Sizes that are as they are by default are left out.
        """
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "layers": [_to_dict(layer) for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelSpec":
        """The spec that :meth:`to_dict` described; ValueError if a layer's type is unknown."""
        layers = tuple(_from_dict(layer) for layer in values["layers"])
        return cls(values["name"], layers, tuple(values["input_shape"]))


def _labelled(owner: str, layers: Sequence[Layer]) -> Iterator[tuple[str, Layer]]:
    """How error messages call each layer, and the layer."""
    for place, layer in enumerate(layers):
        label = _label(owner, place, layer)
        yield label, layer
        if isinstance(layer, Residual):
            yield from _labelled(f"{label}, its ", layer.body)
            yield from _labelled(f"{label}, its shortcut's ", layer.shortcut)


def _label(owner: str, place: int, layer: Layer) -> str:
    name = f" {layer.name!r}" if isinstance(layer, Trainable) else ""
    return f"{owner}layer {place} ({type(layer).__name__}{name})"


def _to_dict(layer: Layer) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for one in fields(layer):
        value = getattr(layer, one.name)
        if value != one.default or one.default is MISSING:
            inner = isinstance(value, tuple)
            sizes[one.name] = [_to_dict(part) for part in value] if inner else value
    return {"type": type(layer).__name__, **sizes}


def _from_dict(values: dict[str, Any]) -> Layer:
    if values["type"] not in LAYERS:
        known = ", ".join(LAYERS)
        raise ValueError(f"unknown layer type {values['type']!r}; known: {known}")
    sizes = {
        name: tuple(map(_from_dict, value)) if isinstance(value, list) else value
        for name, value in values.items()
        if name != "type"
    }
    return LAYERS[values["type"]](**sizes)

"""Framework-neutral model specifications: which layers, which parameters, how many operations.

A :class:`ModelSpec` is a plain list of layers. Every backend builds its framework's model from it
and the float64 oracle in :mod:`distlab.fairness.reference` computes the same mathematics in NumPy.

The kinds of layers and the canonical layout are in :mod:`distlab.models.layers`. The last layer's
outputs are the logits: softmax belongs to the loss.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

# Relative, because these modules also travel with a saved model, under another package's name.
from .layers import LAYERS, Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Shape, Trainable


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
        for label, layer in zip(self._labels(), self.layers, strict=True):
            for size, value in asdict(layer).items():
                lowest = 0 if size == "padding" else 1
                if size != "name" and value < lowest:
                    raise ValueError(f"{label}: {size} must be at least {lowest}, is {value}")
            if isinstance(layer, Trainable):
                if not layer.name or layer.name in names:
                    raise ValueError(f"{label}: its name is empty or taken by an earlier layer")
                names.add(layer.name)
        if not names:
            raise ValueError(f"model {self.name!r}: no layer has parameters to train")
        shapes = self.shapes()
        if len(shapes[-1]) != 1:
            raise ValueError(f"{label}: the last layer must give a vector, gives {shapes[-1]}")

    def _labels(self) -> Iterator[str]:
        """How error messages call each layer."""
        for index, layer in enumerate(self.layers):
            name = f" {layer.name!r}" if isinstance(layer, Trainable) else ""
            yield f"model {self.name!r}, layer {index} ({type(layer).__name__}{name})"

    def shapes(self) -> tuple[Shape, ...]:
        """The shape of one sample after each layer (one entry per layer)."""
        shapes: list[Shape] = []
        shape = self.input_shape
        for label, layer in zip(self._labels(), self.layers, strict=True):
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None
            shapes.append(shape)
        return tuple(shapes)

    @property
    def classes(self) -> int:
        """Number of logits per sample."""
        return self.shapes()[-1][0]

    @property
    def trainable(self) -> tuple[Trainable, ...]:
        """The layers that have parameters, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Trainable))

    @property
    def parameters(self) -> dict[str, Shape]:
        """Canonical shape of every parameter by name (``dense1.weight``), in layer order."""
        return {name: shape for layer in self.trainable for name, shape in layer.parameters.items()}

    @property
    def start_bounds(self) -> dict[str, float]:
        """Half the width of every parameter's uniform start values, in layer order; 0: zeros."""
        return {
            name: bound for layer in self.trainable for name, bound in layer.start_bounds.items()
        }

    @property
    def parameter_count(self) -> int:
        """Number of trainable scalars."""
        return sum(math.prod(shape) for shape in self.parameters.values())

    @property
    def training_flops(self) -> int:
        """Floating-point operations of the forward and backward pass of one sample.

        Convention: a multiply-add counts as 2; only matrix products and convolutions count (not
        bias, activation, pooling, loss or the optimizer's update); products with padded zeros
        count. The gradient of the weight and that of the input cost one forward pass each; the
        first trainable layer needs no gradient of its input.
        """
        forward = [
            2 * layer.fan_in * math.prod(shape)
            for layer, shape in zip(self.layers, self.shapes(), strict=True)
            if isinstance(layer, Trainable)
        ]
        return 3 * sum(forward) - forward[0]

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-able values; :meth:`from_dict` reads it back."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "layers": [{"type": type(layer).__name__, **asdict(layer)} for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelSpec":
        """The spec that :meth:`to_dict` described; ValueError if a layer's type is unknown."""
        layers: list[Layer] = []
        for fields in values["layers"]:
            sizes = {key: value for key, value in fields.items() if key != "type"}
            if fields["type"] not in LAYERS:
                known = ", ".join(LAYERS)
                raise ValueError(f"unknown layer type {fields['type']!r}; known: {known}")
            layers.append(LAYERS[fields["type"]](**sizes))
        return cls(values["name"], tuple(layers), tuple(values["input_shape"]))


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "mlp",
            (
                Flatten(),
                Dense("dense1", 784, 100),
                ReLU(),
                Dense("dense2", 100, 100),
                ReLU(),
                Dense("dense3", 100, 10),
            ),
        ),
        ModelSpec(
            "lenet5",
            (
                Conv2D("conv1", 1, 6, kernel=5, padding=2),
                ReLU(),
                MaxPool2D(2),
                Conv2D("conv2", 6, 16, kernel=5),
                ReLU(),
                MaxPool2D(2),
                Flatten(),
                Dense("dense1", 400, 120),
                ReLU(),
                Dense("dense2", 120, 84),
                ReLU(),
                Dense("dense3", 84, 10),
            ),
        ),
    )
}
"""The models by name: ``mlp`` (89,610 parameters) and ``lenet5`` (61,706 parameters)."""

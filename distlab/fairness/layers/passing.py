"""What the reference's layers share: arrays, what a pass knows, what a layer gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = Mapping[str, Array]
Backward = Callable[[Array], tuple[Array, dict[str, Array]]]
"""From the gradient of a layer's output to that of its input and those of its parameters."""


@dataclass
class Pass:
    """One forward pass over a batch.

    Attributes
    ----------
    arrays:
        Parameters and running statistics by name.
    workers:
        How many share a training batch, each the same number of neighbouring samples; 0 in
        evaluation, which looks at each sample by itself.
    statistics:
        Filled in training: what the running statistics move towards, by name.
    """

    arrays: Parameters
    workers: int
    statistics: dict[str, Array] = field(default_factory=dict)

    def of(self, layer: Any) -> list[Array]:
        """A layer's parameters, in their order."""
        return [self.arrays[name] for name in layer.parameters]

"""Layers that shift and scale values by their own mean and variance."""

from dataclasses import dataclass

from .base import IMAGE, SEQUENCE, Layer, MisfitError, Shape, told


@dataclass(frozen=True)
class BatchNorm(Layer):
    """``(x - mean) / sqrt(variance + epsilon) * scale + shift``, channel by channel.

    Ioffe and Szegedy (2015), "Batch Normalization", algorithms 1 and 2. In training, mean and
    variance (divided by the number n of values) are those of a worker's own samples of the step,
    over height and width, too: n is samples x height x width. Running statistics move towards these
    at every step, ``running += momentum * (found - running)``, where the variance is found with
    n - 1 instead of n; over several workers they are the mean of theirs. Evaluation uses the
    running ones. docs/fairness.md says why.
    """

    name: str
    channels: int
    momentum: float = 0.1
    epsilon: float = 1e-5

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        return {f"{self.name}.scale": (self.channels,), f"{self.name}.shift": (self.channels,)}

    @property
    def buffers(self) -> dict[str, Shape]:
        """See :class:`Layer`: the running mean and variance."""
        return {f"{self.name}.mean": (self.channels,), f"{self.name}.variance": (self.channels,)}

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return dict.fromkeys(self.parameters, 0.0)

    @property
    def start_constants(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return {f"{self.name}.scale": 1.0, f"{self.name}.variance": 1.0}

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`."""
        if len(shape) == SEQUENCE or shape[0] != self.channels:
            expected = f"an image or a vector of {self.channels} channels"
            raise MisfitError(f"expects {expected}, is given {told(shape)}", "- layer_norm")
        return shape

    def check(self) -> None:
        """See :class:`Layer`: momentum is at most 1."""
        super().check()
        if self.momentum > 1:
            raise ValueError(f"momentum must be at most 1, is {self.momentum}")


@dataclass(frozen=True)
class LayerNorm(Layer):
    """``(x - mean) / sqrt(variance + epsilon) * scale + shift``, over a sample's last side.

    Ba et al. (2016), "Layer Normalization": mean and variance (divided by ``features``) of each
    vector, or of each token of a sequence.
    """

    name: str
    features: int
    epsilon: float = 1e-5

    @property
    def parameters(self) -> dict[str, Shape]:
        """See :class:`Layer`."""
        return {f"{self.name}.scale": (self.features,), f"{self.name}.shift": (self.features,)}

    @property
    def start_bounds(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return dict.fromkeys(self.parameters, 0.0)

    @property
    def start_constants(self) -> dict[str, float]:
        """See :class:`Layer`."""
        return {f"{self.name}.scale": 1.0}

    def output_shape(self, shape: Shape) -> Shape:
        """See :class:`Layer`."""
        if len(shape) == IMAGE or shape[-1] != self.features:
            expected = f"a vector, or a sequence of vectors, of {self.features} features"
            raise MisfitError(
                f"expects {expected}, is given {told(shape)}",
                "- batch_norm\nor, before it:\n- flatten",
            )
        return shape

    def check(self) -> None:
        """See :class:`Layer`: Paddle takes no epsilon above 1e-3."""
        super().check()
        if self.epsilon > 1e-3:
            raise ValueError(f"epsilon must be at most 0.001, is {self.epsilon}")

"""A small model for each kind of layer, and for each way of it that backends may get wrong."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Program
from distlab.data.dataset import LabelledImages
from distlab.fairness import reference
from distlab.models.grammar import build
from distlab.models.layers import Shape
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights, draw

SHAPE: Shape = (2, 8, 10)
"""Of the images: sides that differ, so that none is taken for the other."""
CLASSES = 3

# What stands in front makes values of either sign, of which no two are equal; what follows tells
# places apart.
_CONV = "{conv: {channels: 4, kernel: 3}}"
# A bias right in front of batch_norm has no gradient but rounding: nothing to be held against.
_NO_BIAS = "{conv: {channels: 4, kernel: 3, bias: false}}"
_SEQUENCE = "{patch_embedding: {patch: 1, width: 6}}, {residual: [{self_attention: 1}]}"
_END = "flatten, {dense: classes}"

_WORDS = {
    "dense": "flatten, {dense: 5}, tanh, {dense: classes}",
    "dense of a sequence": f"{_SEQUENCE}, {{dense: 5}}, tanh, {_END}",
    "conv": f"{{conv: {{channels: 5, kernel: 3, padding: 1}}}}, tanh, {_CONV}, {_END}",
    "conv, same size, even kernel": f"{_CONV}, {{conv: {{channels: 3, kernel: 4, padding: 2}}}}, "
    f"{_END}",
    "conv with stride": f"{_CONV}, {{conv: {{channels: 3, kernel: 3, stride: 2, padding: 1}}}}, "
    f"{_END}",
    "conv with stride of 3, without padding": f"{_CONV}, {{conv: {{channels: 3, kernel: 2, "
    f"stride: 3}}}}, {_END}",
    "conv in groups": f"{_CONV}, {{conv: {{channels: 6, kernel: 3, groups: 2}}}}, {_END}",
    "conv, each channel by itself": f"{_CONV}, {{conv: {{channels: 4, kernel: 3, padding: 1, "
    f"groups: 4, stride: 2}}}}, {_END}",
    "conv without bias": f"{{conv: {{channels: 4, kernel: 3, bias: false}}}}, {_END}",
    "max_pool": f"{_CONV}, {{max_pool: 2}}, {_END}",
    "max_pool, overlapping": f"{_CONV}, relu, {{max_pool: {{size: 3, stride: 2, padding: 1}}}}, "
    f"{_END}",
    "max_pool with gaps": f"{_CONV}, {{max_pool: {{size: 2, stride: 3}}}}, {_END}",
    "avg_pool": f"{_CONV}, {{avg_pool: 2}}, {_END}",
    "avg_pool, overlapping": f"{_CONV}, {{avg_pool: {{size: 3, stride: 2, padding: 1}}}}, {_END}",
    "global_avg_pool": f"{_CONV}, tanh, global_avg_pool, {{dense: classes}}",
    "global_avg_pool of a sequence": f"{_SEQUENCE}, tanh, global_avg_pool, {{dense: classes}}",
    "batch_norm": f"{_NO_BIAS}, {{batch_norm: {{momentum: 0.3, epsilon: 0.01}}}}, relu, {_END}",
    "batch_norm in front": f"batch_norm, {_CONV}, {_END}",
    "batch_norm of a vector": f"{_CONV}, tanh, flatten, batch_norm, {{dense: classes}}",
    "layer_norm": "flatten, {dense: 5}, {layer_norm: 0.001}, relu, {dense: classes}",
    "layer_norm of a sequence": f"{_SEQUENCE}, layer_norm, {_END}",
    "gelu": f"{_CONV}, gelu, {_END}",
    "tanh": f"{_CONV}, tanh, {_END}",
    "sigmoid": f"{_CONV}, sigmoid, {_END}",
    "residual": f"{_CONV}, {{residual: [{{conv: {{channels: 4, kernel: 3, padding: 1}}}}, relu]}}, "
    f"{_END}",
    "residual with projection": f"{_CONV}, {{residual: [{{conv: {{channels: 6, kernel: 3, "
    f"stride: 2, padding: 1, bias: false}}}}, batch_norm]}}, relu, {_END}",
    "residual with zeros": f"{_CONV}, {{residual: {{shortcut: pad, layers: [{{conv: {{channels: 6, "
    f"kernel: 3, stride: 2, padding: 1}}}}]}}}}, relu, {_END}",
    "patch_embedding": "{patch_embedding: {patch: 2, width: 5}}, tanh, " + _END,
    "position_embedding": f"{_SEQUENCE}, position_embedding, tanh, {_END}",
    "self_attention": f"{_SEQUENCE}, {{self_attention: 3}}, {_END}",
}
_TOGETHER = {
    "layers of images": "{conv: {channels: 4, kernel: 3, padding: 1, bias: false}}, batch_norm, "
    "relu, {max_pool: {size: 3, stride: 2, padding: 1}}, {residual: [{conv: {channels: 4, "
    "kernel: 3, padding: 1, groups: 2}}, tanh]}, {residual: [{conv: {channels: 6, kernel: 3, "
    "stride: 2, padding: 1, bias: false}}, batch_norm]}, {residual: {shortcut: pad, layers: "
    "[{conv: {channels: 8, kernel: 3, padding: 1, stride: 2}}]}}, sigmoid, "
    "{avg_pool: {size: 2, stride: 1, padding: 1}}, global_avg_pool, batch_norm, {dense: classes}",
    "layers of sequences": "{patch_embedding: {patch: 2, width: 6}}, position_embedding, "
    "{residual: [layer_norm, {self_attention: 3}]}, {residual: [layer_norm, {dense: 8}, gelu, "
    "{dense: 6}]}, layer_norm, global_avg_pool, {dense: classes}",
}
_WORDS |= _TOGETHER

KINDS = tuple(_WORDS)
"""What is looked at."""
TOGETHER = tuple(_TOGETHER)
"""Those that hold many kinds: what is looked at where each model must be compiled."""


@cache
def model(kind: str) -> ModelSpec:
    """The small model of one of :data:`KINDS`."""
    import yaml

    return build("small", yaml.safe_load(f"[{_WORDS[kind]}]"), SHAPE, CLASSES)


def looked_at(execution: str, world_size: int) -> tuple[str, ...]:
    """The kinds that a world trains.

    Ranks part in batch statistics alone, so two train those with such, and those that hold many.
    """
    if execution != "eager":
        return TOGETHER
    return tuple(
        kind for kind in KINDS if world_size == 1 or kind in TOGETHER or model(kind).buffers
    )


SAMPLES, GLOBAL_BATCH, STEPS = 24, 8, 3
PROGRAM = Program(GLOBAL_BATCH, learning_rate=1e-2, beta1=0.8, beta2=0.99, epsilon=1e-2)
"""An epsilon as large as gradients are, so that updates depend smoothly on them."""


@cache
def data() -> LabelledImages:
    """Images and labels, for training and evaluation alike."""
    random = np.random.default_rng(0)
    images = random.random((SAMPLES, *SHAPE), np.float32)
    labels = random.integers(0, CLASSES, SAMPLES)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


def order() -> NDArray[np.int32]:
    """``[3, 8]``: the samples of each global batch."""
    return np.arange(SAMPLES, dtype=np.int32).reshape(STEPS, GLOBAL_BATCH)


def start(kind: str) -> Weights:
    """Where training starts: biases and the like are not zero here, so that they tell."""
    spec, random = model(kind), np.random.default_rng(1)
    arrays = draw(spec, 3)
    for name, array in arrays.items():
        if name in spec.buffers:
            arrays[name] = random.uniform(0.5, 2, array.shape).astype(np.float32)
        elif not name.endswith("weight"):
            arrays[name] = array + random.normal(0, 0.3, array.shape).astype(np.float32)
    return arrays


@dataclass(frozen=True)
class Answer:
    """What the oracle finds: in float64, on the global batch.

    Attributes
    ----------
    gradients:
        Of the first step.
    losses, arrays:
        Before each step, and behind the last.
    evaluated:
        The summed loss of all samples, before the first step and behind the last.
    """

    gradients: dict[str, NDArray[np.float64]]
    losses: NDArray[np.float64]
    arrays: dict[str, NDArray[np.float64]]
    evaluated: tuple[float, float]


@cache
def answer(kind: str, workers: int) -> Answer:
    """The oracle's answer for a number of workers, each with its part of every batch."""
    spec, arrays, (images, labels), steps = model(kind), start(kind), data(), order()
    adam = reference.Adam(PROGRAM.learning_rate, PROGRAM.beta1, PROGRAM.beta2, PROGRAM.epsilon)
    first = steps[0]
    _, gradients, _ = reference.step(spec, arrays, images[first], labels[first], workers=workers)
    losses, trained = reference.train(spec, adam, arrays, images, labels, steps, workers)
    before, after = (
        float(reference.cross_entropies(reference.logits(spec, held, images), labels).sum())
        for held in (arrays, trained)
    )
    return Answer(gradients, losses, trained, (before, after))

"""A small model for each kind of layer, and for each way of it that backends may get wrong."""

from functools import cache

import yaml

from distlab.models.grammar import build
from distlab.models.layers import Shape
from distlab.models.spec import ModelSpec

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
    return build("small", yaml.safe_load(f"[{_WORDS[kind]}]"), SHAPE, CLASSES)

"""The spec's layers as Paddle functions."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from distlab.backends.common.unknown_layer import unknown_layer
from distlab.backends.paddle import functions
from distlab.backends.paddle.importing import functional, paddle
from distlab.models.layers import (
    GELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    MaxPool2D,
    PatchEmbedding,
    PositionEmbedding,
    ReLU,
    Residual,
    SelfAttention,
    Shrink,
    Sigmoid,
    Tanh,
)


def mean_cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean of the samples' softmax cross-entropies; labels are int64 ``[n, 1]``.

    Paddle's own function calls the same operator, after three more that compute what it only uses
    with class weights: 4 to 7 % of the MLP's eager step at batch 64. The operator has no public
    name; where it is missing the function is called, with the same result, bit for bit.
    """
    operator = getattr(paddle._C_ops, "cross_entropy_with_softmax", None)
    if operator is None:
        return functional.cross_entropy(logits, labels)
    # No soft labels, logits unscaled, numerically stable, Paddle's ignore_index, the last axis.
    return operator(logits, labels, False, True, True, -100, -1)[1].mean()


def function(
    layer: Any,
    arrays: Mapping[str, Any],
    dtype: str = "float32",
    found: dict[str, Any] | None = None,
) -> Callable[[Any], Any]:
    """The function of one layer of the spec, over a model's arrays by name.

    Products compute in ``dtype``, to which their operands are cast: with ``bfloat16``, mixed
    precision as in Micikevicius et al. (2018), "Mixed Precision Training", and Kalamkar et al.
    (2019), "A Study of BFLOAT16 for Deep Learning Training". The casts' own gradients make the
    parameters' gradients float32.

    Parameters
    ----------
    layer, arrays:
        The layer; the model's parameters and running statistics.
    dtype:
        Of products' operands and results.
    found:
        In training, filled with what running statistics move towards; None in evaluation.

    Raises
    ------
    distlab.errors.DistlabError
        If the layer is of a kind that is not known here.
    """
    match layer:
        case Dense() | Conv2D() | PatchEmbedding() if dtype != "float32":  # not yet run on a GPU
            names = layer.parameters

            def in_dtype(x: Any) -> Any:
                cast = {name: arrays[name].astype(dtype) for name in names}
                return function(layer, cast)(x.astype(dtype))

            return in_dtype
        case Dense(name=name):
            return partial(functions.dense, arrays[f"{name}.weight"], arrays[f"{name}.bias"])
        case Conv2D():
            return partial(functions.conv2d, layer, arrays)
        case ReLU():
            return functional.relu
        case MaxPool2D(size=size):
            # With the mask, the backward pass knows the places and takes a twelfth of the time.
            step, padding = layer.step, layer.padding
            return lambda x: functional.max_pool2d(x, size, step, padding, return_mask=True)[0]
        case AvgPool2D(size=size):
            step, padding = layer.step, layer.padding
            return lambda x: functional.avg_pool2d(x, size, step, padding, exclusive=False)
        case GlobalAvgPool():
            return lambda x: x.mean([2, 3] if x.ndim == 4 else 1)
        case Flatten():
            return lambda x: x.flatten(1)
        case GELU():
            return functional.gelu
        case Tanh():
            return paddle.tanh
        case Sigmoid():
            return functional.sigmoid
        case BatchNorm():
            return partial(functions.batch_norm, layer, arrays, found)
        case LayerNorm(features=features, epsilon=epsilon):
            scale, shift = (arrays[name] for name in layer.parameters)
            return lambda x: functional.layer_norm(
                x.astype("float32"), [features], scale, shift, epsilon
            )
        case PatchEmbedding():
            return partial(functions.patch_embedding, layer, arrays)
        case PositionEmbedding(name=name):
            return lambda x: paddle.add(x, arrays[f"{name}.places"])
        case SelfAttention():
            return partial(functions.self_attention, layer, arrays, dtype)
        case Residual(body=body, shortcut=shortcut):
            inner = [[function(one, arrays, dtype, found) for one in p] for p in (body, shortcut)]
            return lambda x: through(inner[0], x) + through(inner[1], x)
        case Shrink():
            return partial(functions.shrink, layer)
        case _:
            raise unknown_layer(layer, "paddle")


def through(layers: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    """One function after the other."""
    for layer in layers:
        x = layer(x)
    return x

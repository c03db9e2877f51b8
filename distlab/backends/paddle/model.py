"""The spec's layers as Paddle functions."""

from collections.abc import Callable, Mapping
from typing import Any

from distlab.backends.common.unknown_layer import unknown_layer
from distlab.backends.paddle.importing import functional, paddle
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU


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
    layer: Any, parameters: Mapping[str, Any], dtype: str = "float32"
) -> Callable[[Any], Any]:
    """The function of one layer of the spec, over a model's parameters by name.

    Dense and convolution layers compute in ``dtype``, to which their operands are cast: with
    ``bfloat16``, mixed precision as in Micikevicius et al. (2018), "Mixed Precision Training", and
    Kalamkar et al. (2019), "A Study of BFLOAT16 for Deep Learning Training". The casts' own
    gradients make the parameters' gradients float32.

    Raises
    ------
    distlab.errors.DistlabError
        If the layer is of a kind that is not known here.
    """
    match layer:
        case Dense() | Conv2D() if dtype != "float32":  # not yet run on a GPU
            names = layer.parameters

            def in_dtype(x: Any) -> Any:
                cast = {name: parameters[name].astype(dtype) for name in names}
                return function(layer, cast)(x.astype(dtype))

            return in_dtype
        case Dense(name=name):
            weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
            return lambda x: paddle.addmm(bias, x, weight)
        case Conv2D(name=name, padding=padding):
            weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
            return lambda x: (
                functional.conv2d(x, weight, padding=padding) + bias.reshape([-1, 1, 1])
            )
        case ReLU():
            return functional.relu
        case MaxPool2D(size=size):
            # With the mask, the backward pass knows the places and takes a twelfth of the time.
            return lambda x: functional.max_pool2d(x, size, return_mask=True)[0]
        case Flatten():
            return lambda x: x.flatten(1)
        case _:
            raise unknown_layer(layer, "paddle")

"""The models in torch: as a function of their parameters, and as a module.

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distlab.backends.common.unknown_layer import unknown_layer
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distlab.models.rewrite import pool_first
from distlab.models.spec import ModelSpec

SIMD_WIDTH = 16
"""float32 values in a vector of AVX-512; oneDNN fills a convolution's channels up to it."""


def logits(
    spec: ModelSpec, parameters: Mapping[str, Tensor], images: Tensor, *, compiled: bool = False
) -> Tensor:
    """The model as a function of its parameters; compiled for CPU, pooling is compiled, too."""
    x = images
    compiled_for_cpu = compiled and images.device.type == "cpu"
    layers = list(pool_first(spec.layers))
    while layers:
        layer = layers.pop(0)
        match layer:
            case Dense(name=name):
                x = functional.linear(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"])
            case Conv2D(name=name, out_channels=channels, padding=padding):
                weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
                following = layers[0] if layers else None
                fills_no_vector = channels < SIMD_WIDTH
                if compiled_for_cpu and fills_no_vector and isinstance(following, MaxPool2D):
                    x = convolution_and_max_pool(x, weight, bias, padding, following.size)
                    layers.pop(0)
                else:
                    x = functional.conv2d(x, weight, bias, padding=padding)
            case ReLU():
                x = functional.relu(x)
            case MaxPool2D(size=size):
                x = max_pool(x, size) if compiled_for_cpu else functional.max_pool2d(x, size)
            case Flatten():
                x = x.flatten(1)
            case _:
                raise unknown_layer(layer, "torch")
    return x


def module(spec: ModelSpec) -> nn.Sequential:
    """The model as torch's layers, named so that parameters bear the spec's names."""
    found = nn.Sequential()
    for position, layer in enumerate(pool_first(spec.layers)):
        match layer:
            case Dense(name=name, inputs=inputs, outputs=outputs):
                found.add_module(name, nn.Linear(inputs, outputs))
            case Conv2D():
                convolution = nn.Conv2d(
                    layer.in_channels, layer.out_channels, layer.kernel, padding=layer.padding
                )
                found.add_module(layer.name, convolution)
            case ReLU():
                found.add_module(f"relu{position}", nn.ReLU())
            case MaxPool2D(size=size):
                found.add_module(f"pool{position}", nn.MaxPool2d(size))
            case Flatten():
                found.add_module(f"flatten{position}", nn.Flatten())
            case _:
                raise unknown_layer(layer, "torch")
    return found


def convolution_and_max_pool(
    images: Tensor, weight: Tensor, bias: Tensor, padding: int, size: int
) -> Tensor:
    """Max-pool of a convolution, with the places of a pooling window as channels.

    A convolution with stride ``size`` whose kernel is ``size - 1`` larger gives each place of a
    window channels of its own: the same products, and products with zeros. The maximum is then
    taken over channels. oneDNN computes 24 channels at a quarter of the places faster than 6, which
    it fills up to 16.

    Parameters
    ----------
    images:
        ``[n, channels, height, width]``.
    weight, bias:
        Of the convolution: ``[out_channels, channels, kernel, kernel]`` and ``[out_channels]``.
    padding:
        Of the convolution: zeros on all four sides.
    size:
        Side of the pooling windows; it divides the convolution's height and width.

    Returns
    -------
    Tensor
        ``[n, out_channels, pooled height, pooled width]``.
    """
    last = size - 1
    places = [
        functional.pad(weight, (right, last - right, down, last - down))
        for down in range(size)
        for right in range(size)
    ]
    outputs = functional.conv2d(
        images, torch.cat(places), bias.repeat(size**2), stride=size, padding=padding
    )
    return _first_maximum(outputs.unflatten(1, (size**2, -1)).unbind(1))


def max_pool(x: Tensor, size: int) -> Tensor:
    """Max-pool of ``[n, channels, height, width]`` by comparisons, which a compiler fuses."""
    return _first_maximum(
        [x[:, :, down::size, right::size] for down in range(size) for right in range(size)]
    )


def _first_maximum(values: Sequence[Tensor]) -> Tensor:
    """Element by element; the first among equals receives the gradient, as in torch's max-pool."""
    found, *others = values
    for other in others:
        found = torch.where(other > found, other, found)
    return found

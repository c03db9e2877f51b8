"""The models in torch: as a function of their arrays, and as a module.

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distlab.backends.common.unknown_layer import unknown_layer
from distlab.backends.torch.layers import functions, modules
from distlab.backends.torch.layers.functions import Pass
from distlab.models.layers import (
    GELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    MaxPool2D,
    PatchEmbedding,
    PositionEmbedding,
    ReLU,
    Residual,
    SelfAttention,
    Shape,
    Shrink,
    Sigmoid,
    Tanh,
    Trainable,
)
from distlab.models.layers.residual import along
from distlab.models.rewrite import pool_first
from distlab.models.spec import ModelSpec

SIMD_WIDTH = 16
"""float32 values in a vector of AVX-512; oneDNN fills a convolution's channels up to it."""


def logits(
    spec: ModelSpec,
    arrays: Mapping[str, Tensor],
    images: Tensor,
    *,
    compiled: bool = False,
    moved: dict[str, Tensor] | None = None,
) -> Tensor:
    """The model as a function of its arrays; compiled for CPU, pooling is compiled, too.

    With ``moved`` it is as in training, and running statistics are put there as they are then.
    """
    run = Pass(arrays, compiled and images.device.type == "cpu", moved)
    return _through(pool_first(spec.layers), images, run)


def _through(sequence: Sequence[Layer], x: Tensor, run: Pass) -> Tensor:
    """Layers one after the other."""
    arrays, layers = run.arrays, list(sequence)
    while layers:
        layer = layers.pop(0)
        match layer:
            case Dense(name=name):
                x = functional.linear(x, arrays[f"{name}.weight"], arrays[f"{name}.bias"])
            case Conv2D(name=name, padding=padding):
                weight, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
                following = layers[0] if layers else None
                if run.compiled and bias is not None and _in_one(layer, following, x):
                    assert isinstance(following, MaxPool2D)
                    x = convolution_and_max_pool(x, weight, bias, padding, following.size)
                    layers.pop(0)
                else:
                    x = functional.conv2d(x, weight, bias, layer.stride, padding, 1, layer.groups)
            case ReLU():
                x = functional.relu(x)
            case MaxPool2D(size=size):
                if run.compiled and layer.tiles(x.shape[1:]):
                    x = max_pool(x, size)
                else:
                    x = functional.max_pool2d(x, size, layer.step, layer.padding)
            case AvgPool2D(size=size):
                x = functional.avg_pool2d(x.float(), size, layer.step, layer.padding)
            case GlobalAvgPool():
                x = functions.global_avg_pool(x)
            case Flatten():
                x = x.flatten(1)
            case GELU():
                x = functional.gelu(x.float())
            case Tanh():
                x = torch.tanh(x.float())
            case Sigmoid():
                x = torch.sigmoid(x.float())
            case BatchNorm():
                x = functions.batch_norm(layer, x, run)
            case LayerNorm(features=features):
                scale, shift = (arrays[name] for name in layer.parameters)
                x = functional.layer_norm(x.float(), (features,), scale, shift, layer.epsilon)
            case PatchEmbedding(name=name):
                weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
                x = functions.patch_embedding(layer, x, weight, bias)
            case PositionEmbedding(name=name):
                x = x + arrays[f"{name}.places"]
            case SelfAttention():
                x = functions.self_attention(layer, x, arrays)
            case Residual(body=body, shortcut=shortcut):
                x = _through(body, x, run).float() + _through(shortcut, x, run).float()
            case Shrink():
                x = functions.shrink(layer, x)
            case _:
                raise unknown_layer(layer, "torch")
    return x


def _in_one(layer: Conv2D, following: Layer | None, x: Tensor) -> bool:
    """Whether a convolution is best computed together with the max-pool behind it."""
    return (
        layer.out_channels < SIMD_WIDTH  # fills no vector
        and layer.stride == layer.groups == 1
        and isinstance(following, MaxPool2D)
        and following.tiles(layer.output_shape(tuple(x.shape[1:])))
    )


def module(spec: ModelSpec) -> nn.Sequential:
    """The model as torch's layers; :func:`arrays` gives what they hold by the spec's names."""
    return _modules(pool_first(spec.layers), spec.input_shape)


def arrays(model: nn.Module) -> dict[str, Tensor]:
    """The live parameters and running statistics of a module, by the spec's names."""
    found: dict[str, Tensor] = {}
    for part in model.modules():
        for name, tensor in getattr(part, "spec_names", {}).items():
            *path, last = tensor.split(".")
            found[name] = getattr(part.get_submodule(".".join(path)), last)
    return found


def _modules(layers: Sequence[Layer], shape: Shape) -> nn.Sequential:
    found = nn.Sequential()
    for position, (layer, given) in enumerate(along(layers, shape)):
        name = layer.name if isinstance(layer, Trainable) else type(layer).__name__.lower()
        one = _module(layer, given)
        if not hasattr(one, "spec_names") and isinstance(one, nn.Linear | nn.Conv2d):
            one.spec_names = {  # type: ignore[assignment]
                array: array.rpartition(".")[2] for array in layer.parameters
            }
        found.add_module(name if isinstance(layer, Trainable) else f"{name}{position}", one)
    return found


def _module(layer: Layer, shape: Shape) -> nn.Module:
    """One layer, for inputs of a shape."""
    match layer:
        case Dense(inputs=inputs, outputs=outputs):
            return nn.Linear(inputs, outputs)
        case Conv2D():
            return nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                layer.stride,
                layer.padding,
                groups=layer.groups,
                bias=layer.bias,
            )
        case ReLU():
            return nn.ReLU()
        case MaxPool2D(size=size):
            return nn.MaxPool2d(size, layer.step, layer.padding)
        case AvgPool2D(size=size):
            return modules.InFloat32(nn.AvgPool2d(size, layer.step, layer.padding))
        case GlobalAvgPool():
            return modules.GlobalAvgPoolModule()
        case Flatten():
            return nn.Flatten()
        case GELU():
            return modules.InFloat32(nn.GELU())
        case Tanh():
            return modules.InFloat32(nn.Tanh())
        case Sigmoid():
            return modules.InFloat32(nn.Sigmoid())
        case BatchNorm():
            return modules.BatchNormModule(layer, len(shape))
        case LayerNorm():
            return modules.LayerNormModule(layer)
        case PatchEmbedding():
            return modules.PatchEmbeddingModule(layer)
        case PositionEmbedding():
            return modules.PositionEmbeddingModule(layer)
        case SelfAttention():
            return modules.SelfAttentionModule(layer)
        case Residual(body=body, shortcut=shortcut):
            return modules.ResidualModule(_modules(body, shape), _modules(shortcut, shape))
        case Shrink():
            return modules.ShrinkModule(layer)
        case _:
            raise unknown_layer(layer, "torch")


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

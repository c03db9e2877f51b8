"""Initial weights, drawn once by NumPy for every framework, and their fingerprint.

The draw uses only NumPy's raw Philox stream, which NumPy guarantees never to change (that of
``Generator``'s methods may), and exactly rounded float64 operations, so that a seed means the same
bits on every machine.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Relative, because these modules also travel with a saved model, under another package's name.
from .spec import ModelSpec

Weights = dict[str, NDArray[np.float32]]
"""Arrays by name (``dense1.weight``), in the canonical layout: a model's parameters, then its
running statistics, each in the spec's order."""

STREAM = int.from_bytes(b"weights")
"""Top word of Philox's counter: keeps these streams apart from others with the same key."""


def draw(spec: ModelSpec, seed: int) -> Weights:
    """Draw the initial weights of a model.

    Every parameter is uniform on ``[-b, b)``, with the bound b that its layer gives
    (:attr:`ModelSpec.start_bounds`). Where b is 0, and in running statistics, all values are one,
    mostly 0 (:attr:`ModelSpec.start_constants`). Parameter ``i`` of the spec takes its values from
    the Philox4x64-10 stream (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3")
    with key ``(seed, i)``: a stream of its own, whatever the other parameters' sizes.

    Parameters
    ----------
    spec:
        The model.
    seed:
        0 to 2**64 - 1.

    Returns
    -------
    Weights
        float32, C-contiguous, in the spec's order and the canonical layout.

    Raises
    ------
    ValueError
        If the seed is out of range.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be from 0 to 2**64 - 1, is {seed}")
    weights: Weights = {}
    constants = spec.start_constants
    bounds = spec.start_bounds
    for index, (name, shape) in enumerate(spec.parameters.items()):
        bound = bounds[name]
        if bound == 0:
            weights[name] = np.full(shape, constants.get(name, 0.0), np.float32)
            continue
        stream = np.random.Philox(
            key=np.array([seed, index], np.uint64),
            counter=np.array([0, 0, 0, STREAM], np.uint64),
        )
        raw = stream.random_raw(int(np.prod(shape))) >> np.uint64(11)
        unit = raw.astype(np.float64) * 2.0**-52 - 1.0
        weights[name] = (unit * bound).astype(np.float32).reshape(shape)
    for name, shape in spec.buffers.items():
        weights[name] = np.full(shape, constants.get(name, 0.0), np.float32)
    return weights


def check(spec: ModelSpec, weights: Mapping[str, NDArray[Any]]) -> None:
    """Make sure that the arrays are this model's parameters and running statistics.

    Raises
    ------
    ValueError
        If an array is missing, unknown or of another shape; the first such one is named.
    """
    expected = spec.arrays
    for name, shape in expected.items():
        if name not in weights:
            raise ValueError(f"model {spec.name!r} needs a parameter {name!r}, which is missing")
        if weights[name].shape != shape:
            raise ValueError(
                f"parameter {name!r} of model {spec.name!r} has shape {shape}, "
                f"is given {weights[name].shape}"
            )
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise ValueError(f"model {spec.name!r} has no parameter {unknown[0]!r}")


def fingerprint(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 of the weights, by which ranks and frameworks prove that theirs are equal.

    Hashed, in the order of the sorted names: ``name``, the shape as ``(a,b)`` and a line end, then
    the values as little-endian float32 in C order. The dict's own order does not matter.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        If an array is not float32: a conversion could hide a difference.
    """
    digest = hashlib.sha256()
    for name, array in sorted(weights.items()):
        if array.dtype != np.float32:
            raise TypeError(f"parameter {name!r} must be float32, is {array.dtype}")
        shape = ",".join(map(str, array.shape))
        digest.update(f"{name}({shape})\n".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").data)
    return digest.hexdigest()

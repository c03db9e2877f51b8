"""Self-attention and the places of tokens."""

import math

import numpy as np

from ...models.layers import PositionEmbedding, SelfAttention
from .passing import Array, Backward, Pass


def position_embedding(layer: PositionEmbedding, given: Pass, x: Array) -> tuple[Array, Backward]:
    """``x + places``."""
    (places,) = given.of(layer)
    (name,) = layer.parameters
    return x + places, lambda dy: (dy, {name: dy.sum(axis=0)})


def self_attention(layer: SelfAttention, given: Pass, x: Array) -> tuple[Array, Backward]:
    """``softmax(q k^T / sqrt(d)) v`` for each head, between two products with weights."""
    weight_in, bias_in, weight_out, bias_out = given.of(layer)
    samples, tokens, width = x.shape
    heads, size = layer.heads, width // layer.heads
    root = x.dtype.type(1 / math.sqrt(size))

    # [3, samples, heads, tokens, size]
    parts = (x @ weight_in + bias_in).reshape(samples, tokens, 3, heads, size)
    q, k, v = parts.transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(2, 3) * root
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    mixed = (shares @ v).swapaxes(1, 2).reshape(samples, tokens, width)

    def backward(dy: Array) -> tuple[Array, dict[str, Array]]:
        dmixed = (dy @ weight_out.T).reshape(samples, tokens, heads, size).swapaxes(1, 2)
        dshares = dmixed @ v.swapaxes(2, 3)
        dscores = shares * (dshares - (dshares * shares).sum(axis=-1, keepdims=True)) * root
        dq, dk, dv = dscores @ k, dscores.swapaxes(2, 3) @ q, shares.swapaxes(2, 3) @ dmixed
        dparts = np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(samples, tokens, -1)
        rows_in, rows_out = dparts.reshape(-1, 3 * width), dy.reshape(-1, width)
        gradients = (
            x.reshape(-1, width).T @ rows_in,
            rows_in.sum(axis=0),
            mixed.reshape(-1, width).T @ rows_out,
            rows_out.sum(axis=0),
        )
        return dparts @ weight_in.T, dict(zip(layer.parameters, gradients, strict=True))

    return mixed @ weight_out + bias_out, backward

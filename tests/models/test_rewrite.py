from dataclasses import replace

import numpy as np
import pytest

from distlab.fairness import reference
from distlab.models.layers import MaxPool2D, ReLU
from distlab.models.rewrite import pool_first
from distlab.models.shipped import MODELS
from distlab.models.weights import draw


def test_every_relu_before_a_pool_goes_behind_it() -> None:
    kinds = [type(layer) for layer in pool_first(MODELS["lenet5"].layers)]
    assert kinds.count(ReLU) == 4
    pools = [place for place, kind in enumerate(kinds) if kind is MaxPool2D]
    assert len(pools) == 2
    assert all(kinds[place - 1] is not ReLU and kinds[place + 1] is ReLU for place in pools)


def test_a_model_without_pools_stays_as_it_is() -> None:
    assert pool_first(MODELS["mlp"].layers) == MODELS["mlp"].layers


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradients_are_the_same_bit_for_bit(seed: int) -> None:
    spec = MODELS["lenet5"]
    generator = np.random.default_rng(seed)
    images = generator.random((8, 1, 28, 28), np.float32)
    # Even parts, which tie in the pools.
    images[:, :, :14] = 0
    labels = generator.integers(0, 10, 8)
    weights = draw(spec, seed)
    rewritten = replace(spec, layers=pool_first(spec.layers))
    loss, gradients = reference.loss_and_gradients(spec, weights, images, labels)
    other, others = reference.loss_and_gradients(rewritten, weights, images, labels)
    assert loss == other
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])

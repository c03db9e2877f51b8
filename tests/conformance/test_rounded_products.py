"""What rounding does to the first losses, emulated, against the bounds that runs are held to."""

import numpy as np
import pytest
import rounded_products

from distlab.data import sources
from distlab.data.order import epoch_order
from distlab.fairness import reference
from distlab.fairness.rounding import UNIT_ROUNDOFF, loss_errors, why_not
from distlab.models.shipped import MODELS
from distlab.models.weights import draw

STEPS = 10


def first_losses(
    model: str, batch: int, seed: int, precision: str, learning_rate: float = 1e-3
) -> np.ndarray:
    spec = MODELS[model]
    (images, labels), _ = sources.load("mnist5k").normalized()
    order = epoch_order(seed, 0, len(labels), batch)[:STEPS]
    with rounded_products.products(precision):
        return np.array(
            reference.losses(
                spec, draw(spec, seed), images, labels, order, learning_rate=learning_rate
            )
        )


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_rounding_to_nearest_even_errs_by_the_unit_roundoff(precision: str) -> None:
    bits = rounded_products.BITS[precision]
    ulp = 2.0 ** (1 - bits)
    # Ties go to the even neighbour: down from 1 + ulp / 2, up from 1 + 3 ulp / 2.
    ties = rounded_products.rounded(np.array([1 + ulp / 2, 1 + 1.5 * ulp, -1 - ulp / 2]), bits)
    assert ties.tolist() == [1.0, 1 + 2 * ulp, -1.0]
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    errors = np.abs(rounded_products.rounded(values, bits) / values.astype(np.float64) - 1)
    u = UNIT_ROUNDOFF[precision]
    assert 0.9 * u < errors.max() <= u


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize(("model", "batch"), [("mlp", 64), ("mlp", 16), ("lenet5", 16)])
def test_rounded_losses_are_within_their_bounds_and_not_within_others(
    model: str, batch: int, precision: str
) -> None:
    expected = first_losses(model, batch, 3, "fp32")
    errors = loss_errors(first_losses(model, batch, 3, precision), expected)
    assert why_not(errors, precision, batch) is None
    assert why_not(errors, "fp32", batch) is not None
    assert "nothing was rounded" in str(why_not(0 * errors, precision, batch))


def test_half_a_batchs_gradients_are_beyond_the_bounds() -> None:
    spec, batch, seed = MODELS["mlp"], 64, 3
    (images, labels), _ = sources.load("mnist5k").normalized()
    order = epoch_order(seed, 0, len(labels), batch)[:STEPS]
    weights, adam, losses = dict(draw(spec, seed)), reference.Adam(1e-3), []
    with rounded_products.products("bf16"):
        for rows in order:
            half = rows[: batch // 2]
            loss, _ = reference.loss_and_gradients(spec, weights, images[rows], labels[rows])
            _, gradients = reference.loss_and_gradients(spec, weights, images[half], labels[half])
            weights = dict(adam.step(weights, gradients))
            losses.append(loss)
    errors = loss_errors(losses, first_losses("mlp", batch, seed, "fp32"))
    assert "one is off" in str(why_not(errors, "bf16", batch))

import hashlib
import math
import struct

import numpy as np
import pytest
from scipy import stats

from distlab.models.layers import Dense, Flatten, ReLU
from distlab.models.shipped import MODELS
from distlab.models.spec import ModelSpec
from distlab.models.weights import check, draw, fingerprint

# A change here means that no earlier run can be repeated or compared: change on purpose only.
PINNED = {
    "mlp": "af1b9f88572b87d785305595b05fb2b6be7234b47d8b9ea0addaa45a4e7a4802",
    "lenet5": "0027c6166d34f4a9a56b63ab68bc31688ce16c6c89990bd51073994cabd230ff",
}


def two_dense(hidden):
    return ModelSpec("m", (Flatten(), Dense("a", 784, hidden), ReLU(), Dense("b", hidden, 10)))


@pytest.mark.parametrize("name", PINNED)
def test_the_stream_has_not_changed(name):
    assert fingerprint(draw(MODELS[name], 0)) == PINNED[name]


@pytest.mark.parametrize("name", [*PINNED, "resnet20", "vit"])
def test_drawn_arrays_are_the_specs_parameters(name):
    weights = draw(MODELS[name], 3)
    assert {key: value.shape for key, value in weights.items()} == MODELS[name].arrays
    assert list(weights) == list(MODELS[name].arrays)
    for value in weights.values():
        assert value.dtype == np.float32
        assert value.flags.c_contiguous
        assert value.flags.writeable


def test_same_seed_same_bits_whatever_numpys_global_state():
    np.random.seed(1)
    first = fingerprint(draw(MODELS["lenet5"], 7))
    np.random.seed(2)
    assert fingerprint(draw(MODELS["lenet5"], 7)) == first
    assert fingerprint(draw(MODELS["lenet5"], 8)) != first


def test_drawing_leaves_numpys_global_state_alone():
    before = np.random.get_state()[1].copy()
    draw(MODELS["mlp"], 0)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("name", PINNED)
def test_weights_are_he_uniform_and_biases_zero(name):
    weights = draw(MODELS[name], 0)
    for key, value in weights.items():
        if key.endswith(".bias"):
            assert not value.any()
            continue
        fan_in = math.prod(value.shape[1:]) if value.ndim == 4 else value.shape[0]
        bound = math.sqrt(6 / fan_in)
        assert np.abs(value).max() <= np.float32(bound)
        uniform = stats.uniform(loc=-bound, scale=2 * bound)
        assert stats.kstest(value.ravel(), uniform.cdf).pvalue > 1e-3, key
        if value.size > 10_000:
            assert value.var() == pytest.approx(2 / fan_in, rel=0.03)


def test_each_parameter_has_a_stream_of_its_own():
    weights = draw(two_dense(784), 0)
    a, b = weights["a.weight"].ravel()[:5000], weights["b.weight"].ravel()[:5000]
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
    # growing layer a moves no value of it, and leaves b's stream where it was
    wider, scale = draw(two_dense(1568), 0), np.sqrt(2.0)
    np.testing.assert_array_equal(
        wider["a.weight"].ravel()[: 784 * 784], weights["a.weight"].ravel()
    )
    np.testing.assert_allclose(wider["b.weight"].ravel()[:5000] * scale, b, rtol=1e-6)


def test_seed_and_index_do_not_mix():
    # seed s, parameter i must not give the values of seed i, parameter s
    spec = two_dense(784)
    first, third = draw(spec, 2)["a.weight"].ravel(), draw(spec, 0)["b.weight"].ravel()
    assert not (first[:100] == third[:100]).any()


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_extreme_seeds_work(seed):
    assert draw(MODELS["mlp"], seed)["dense1.weight"].std() > 0


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be from 0"):
        draw(MODELS["mlp"], seed)


def test_fingerprint_ignores_the_dicts_order_and_the_memory_layout():
    weights = draw(MODELS["mlp"], 0)
    other = {key: np.asfortranarray(weights[key]) for key in reversed(weights)}
    assert fingerprint(other) == fingerprint(weights)


def test_fingerprint_is_what_its_documentation_says():
    weights = {
        "b": np.array(-0.5, np.float32),
        "a": np.array([[1, 2, 3]], np.float32),
    }
    text = b"a(1,3)\n" + struct.pack("<3f", 1, 2, 3) + b"b()\n" + struct.pack("<f", -0.5)
    assert fingerprint(weights) == hashlib.sha256(text).hexdigest()


def test_fingerprint_sees_one_bit():
    weights = draw(MODELS["mlp"], 0)
    changed = {key: value.copy() for key, value in weights.items()}
    changed["dense3.bias"][4] = -0.0
    assert fingerprint(changed) != fingerprint(weights)


def test_fingerprint_sees_names_and_shapes():
    values = np.arange(6, dtype=np.float32)
    prints = {
        fingerprint({"a": values.reshape(2, 3)}),
        fingerprint({"a": values.reshape(3, 2)}),
        fingerprint({"b": values.reshape(2, 3)}),
        fingerprint({"a": values.reshape(2, 3), "b": values[:0]}),
    }
    assert len(prints) == 4


def test_fingerprint_refuses_to_convert():
    with pytest.raises(TypeError, match="'a' must be float32, is float64"):
        fingerprint({"a": np.zeros(2)})


def test_check_names_the_parameter_that_is_wrong():
    spec = MODELS["mlp"]
    weights = draw(spec, 0)
    check(spec, weights)
    with pytest.raises(ValueError, match=r"'dense2.bias'.*missing"):
        check(spec, {key: weights[key] for key in weights if key != "dense2.bias"})
    with pytest.raises(ValueError, match=r"'dense1.weight'.*\(784, 100\).*\(100, 784\)"):
        check(spec, {**weights, "dense1.weight": weights["dense1.weight"].T})
    with pytest.raises(ValueError, match="no parameter 'extra'"):
        check(spec, {**weights, "extra": np.zeros(1, np.float32)})

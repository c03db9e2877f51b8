"""Every kind of layer of the reference: by hand, against SciPy, and by central differences."""

import numpy as np
import pytest
from scipy.special import erf, softmax

from distlab.conformance.kinds import CLASSES, KINDS, model
from distlab.fairness import reference
from distlab.fairness.layers import products
from distlab.fairness.layers.forward import forward
from distlab.fairness.layers.passing import Pass
from distlab.models.layers import (
    GELU,
    LAYERS,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    MaxPool2D,
    PatchEmbedding,
    PositionEmbedding,
    ReLU,
    SelfAttention,
    Shrink,
    Sigmoid,
    Tanh,
)
from distlab.models.spec import ModelSpec
from distlab.models.weights import draw

RANDOM = np.random.default_rng(0)
SAMPLES = 6


def compute(layer: Layer, x: np.ndarray, workers: int = 0, **arrays: np.ndarray) -> np.ndarray:
    """One layer's output."""
    return forward(layer, Pass(arrays, workers), x)[0]


def problem(spec: ModelSpec) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Arrays in general position, images and labels."""
    random = np.random.default_rng(1)
    arrays = {name: random.normal(0, 0.5, shape) for name, shape in spec.parameters.items()}
    arrays |= {name: random.uniform(0.5, 2, shape) for name, shape in spec.buffers.items()}
    images = random.random((SAMPLES, *spec.input_shape))
    return arrays, images, random.integers(0, CLASSES, SAMPLES)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_central_differences(kind: str, workers: int) -> None:
    spec = model(kind)
    arrays, images, labels = problem(spec)
    _, gradients, _ = reference.step(spec, arrays, images, labels, workers=workers)
    assert list(gradients) == list(spec.parameters)
    for name, shape in spec.parameters.items():
        direction = RANDOM.normal(size=shape)
        direction /= np.linalg.norm(direction)
        ends = [
            reference.step(
                spec, {**arrays, name: arrays[name] + size * direction}, images, labels,
                workers=workers,
            )[0]
            for size in (1e-6, -1e-6)
        ]  # fmt: skip
        numeric = (ends[0] - ends[1]) / 2e-6
        analytic = float((gradients[name] * direction).sum())
        assert analytic == pytest.approx(numeric, rel=2e-5, abs=2e-8), name


def test_every_kind_of_layer_is_among_those_that_are_looked_at() -> None:
    found = {type(layer).__name__ for kind in KINDS for layer in model(kind).all_layers}
    assert found == set(LAYERS)


def test_without_batch_norm_the_workers_make_no_difference() -> None:
    spec = model("self_attention")
    arrays, images, labels = problem(spec)
    one = reference.step(spec, arrays, images, labels, workers=1)
    three = reference.step(spec, arrays, images, labels, workers=3)
    assert one[0] == three[0]
    assert one[2] == three[2] == {}


def test_each_worker_normalizes_its_own_samples_and_running_statistics_are_their_mean() -> None:
    spec = model("batch_norm in front")
    (norm,) = (layer for layer in spec.layers if isinstance(layer, BatchNorm))
    arrays, images, labels = problem(spec)
    loss, _, running = reference.step(spec, arrays, images, labels, workers=2)
    halves = [slice(0, 3), slice(3, 6)]
    apart = [reference.step(spec, arrays, images[half], labels[half]) for half in halves]
    assert loss == pytest.approx(np.mean([one[0] for one in apart]), rel=1e-13)
    assert loss != pytest.approx(reference.step(spec, arrays, images, labels)[0], rel=1e-6)
    mean = np.mean([images[half].mean(axis=(0, 2, 3)) for half in halves], axis=0)
    variance = np.mean([images[half].var(axis=(0, 2, 3), ddof=1) for half in halves], axis=0)
    for kind, found in (("mean", mean), ("variance", variance)):
        name = f"{norm.name}.{kind}"
        expected = 0.9 * arrays[name] + 0.1 * found
        np.testing.assert_allclose(running[name], expected, rtol=1e-13)
        np.testing.assert_allclose(
            running[name], np.mean([one[2][name] for one in apart], axis=0), rtol=1e-13
        )


def test_training_moves_running_statistics_and_evaluation_uses_them() -> None:
    spec = model("batch_norm")
    images = RANDOM.random((40, *spec.input_shape))
    labels = RANDOM.integers(0, CLASSES, 40)
    order = np.tile(np.arange(40), (60, 1))
    adam = reference.Adam(1e-9)
    _, trained = reference.train(spec, adam, draw(spec, 0), images, labels, order)
    assert set(trained) == set(spec.arrays)
    loss = reference.step(spec, trained, images, labels)[0]
    evaluated = reference.cross_entropies(reference.logits(spec, trained, images), labels)
    # After 60 steps the start values count for 0.7^60; the unbiased variance is 1/1679 larger.
    assert evaluated.mean() == pytest.approx(loss, rel=1e-3)
    apart = np.concatenate([reference.logits(spec, trained, images[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(apart, reference.logits(spec, trained, images), rtol=1e-9)


def test_normalizations_by_hand() -> None:
    x = RANDOM.normal(3, 2, (4, 3, 5, 6))
    norms = {"n.scale": np.array([1.0, 2, 3]), "n.shift": np.array([0.0, 1, 2])}
    y = compute(BatchNorm("n", 3, epsilon=1e-12), x, workers=1, **norms)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), [0, 1, 2], atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), [1, 2, 3], rtol=1e-10)
    running = {"n.mean": np.array([3.0, 0, 0]), "n.variance": np.array([4.0, 1, 1])}
    y = compute(BatchNorm("n", 3, epsilon=1e-12), x, **norms, **running)
    np.testing.assert_allclose(y[:, 0], (x[:, 0] - 3) / 2, rtol=1e-10)
    np.testing.assert_allclose(y[:, 2], x[:, 2] * 3 + 2, rtol=1e-10)
    rows = RANDOM.normal(3, 2, (4, 7, 3))
    y = compute(LayerNorm("n", 3, epsilon=1e-12), rows, **norms)
    plain = (rows - rows.mean(axis=-1, keepdims=True)) / rows.std(axis=-1, keepdims=True)
    np.testing.assert_allclose(y, plain * [1, 2, 3] + [0, 1, 2], rtol=1e-9)


def test_pooling_by_hand() -> None:
    x = np.arange(1.0, 26).reshape(1, 1, 5, 5)
    overlapping = compute(MaxPool2D(3, 2, 1), -x)
    np.testing.assert_array_equal(overlapping[0, 0], [[-1, -2, -4], [-6, -7, -9], [-16, -17, -19]])
    np.testing.assert_array_equal(compute(MaxPool2D(2), x)[0, 0], [[7, 9], [17, 19]])
    padded = compute(AvgPool2D(2, 2, 1), x)
    np.testing.assert_allclose(padded[0, 0, 0], [1 / 4, 5 / 4, 9 / 4])
    assert compute(GlobalAvgPool(), x) == [[13]]
    assert compute(GlobalAvgPool(), x[0]).tolist() == [[11, 12, 13, 14, 15]]


def test_equal_maxima_of_overlapping_windows_each_give_their_gradient_to_the_first() -> None:
    _, backward = forward(MaxPool2D(2, 1), Pass({}, 1), np.zeros((1, 1, 3, 3)))
    dx, _ = backward(np.array([[[[1.0, 2], [3, 4]]]]))
    np.testing.assert_array_equal(dx[0, 0], [[1, 2, 0], [3, 4, 0], [0, 0, 0]])


def test_convolutions_are_sums_of_products() -> None:
    layer = Conv2D("c", 4, 6, kernel=3, padding=1, stride=2, groups=2)
    x = RANDOM.normal(size=(2, 4, 5, 6))
    weight, bias = RANDOM.normal(size=(6, 2, 3, 3)), RANDOM.normal(size=6)
    y = compute(layer, x, **{"c.weight": weight, "c.bias": bias})
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert y.shape == (2, 6, 3, 3)
    for o, i, j in np.ndindex(6, 3, 3):
        inputs = slice(0, 2) if o < 3 else slice(2, 4)
        window = padded[:, inputs, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        np.testing.assert_allclose(y[:, o, i, j], (window * weight[o]).sum((1, 2, 3)) + bias[o])


def test_a_convolution_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = model("conv in groups")
    arrays, images, labels = problem(spec)
    whole = reference.step(spec, arrays, images, labels)
    monkeypatch.setattr(products, "UNFOLDED_BYTES", 1)
    parts = reference.step(spec, arrays, images, labels)
    assert parts[0] == whole[0]
    for name, gradient in whole[1].items():
        np.testing.assert_allclose(parts[1][name], gradient, rtol=1e-10, atol=1e-14)


def test_a_patch_embedding_is_a_convolution_whose_stride_is_its_kernel() -> None:
    weight, bias = RANDOM.normal(size=(5, 3, 2, 2)), RANDOM.normal(size=5)
    arrays = {"p.weight": weight, "p.bias": bias}
    x = RANDOM.normal(size=(2, 3, 4, 6))
    tokens = compute(PatchEmbedding("p", 3, 2, 5), x, **arrays)
    image = compute(Conv2D("p", 3, 5, 2, stride=2), x, **arrays)
    np.testing.assert_allclose(tokens, image.reshape(2, 5, 6).swapaxes(1, 2), rtol=1e-12)


def test_attention_token_by_token() -> None:
    width, heads, size = 6, 2, 3
    layer = SelfAttention("a", width, heads)
    arrays = {name: RANDOM.normal(size=shape) for name, shape in layer.parameters.items()}
    x = RANDOM.normal(size=(2, 4, width))
    y = compute(layer, x, **arrays)
    for sample, token in np.ndindex(2, 4):
        every = x[sample] @ arrays["a.in.weight"] + arrays["a.in.bias"]
        q, k, v = every[token, :width], every[:, width : 2 * width], every[:, 2 * width :]
        heads_own = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            shares = softmax(k[:, part] @ q[part] / np.sqrt(size))
            heads_own.append(shares @ v[:, part])
        expected = np.concatenate(heads_own) @ arrays["a.out.weight"] + arrays["a.out.bias"]
        np.testing.assert_allclose(y[sample, token], expected, rtol=1e-10)


def test_functions_of_single_values() -> None:
    x = np.array([-40.0, -2, -1e-3, 0, 1e-3, 2, 40])
    np.testing.assert_array_equal(compute(ReLU(), x), np.maximum(x, 0))
    np.testing.assert_allclose(compute(GELU(), x), x / 2 * (1 + erf(x / np.sqrt(2))), atol=1e-300)
    np.testing.assert_allclose(compute(Tanh(), x), np.tanh(x))
    np.testing.assert_allclose(compute(Sigmoid(), x), 1 / (1 + np.exp(-x)), atol=1e-16)
    assert compute(GELU(), x.astype(np.float32)).dtype == np.float32


def test_shrinking_takes_every_other_pixel_and_adds_channels_of_zeros() -> None:
    x = RANDOM.normal(size=(1, 2, 5, 4))
    y = compute(Shrink(2, 5, 2), x)
    np.testing.assert_array_equal(y[:, :2], x[:, :, ::2, ::2])
    assert y.shape == (1, 5, 3, 2)
    assert not y[:, 2:].any()


def test_dense_of_a_sequence_is_that_of_each_token() -> None:
    weight, bias = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=4)
    arrays = {"d.weight": weight, "d.bias": bias}
    x = RANDOM.normal(size=(2, 5, 3))
    y = compute(Dense("d", 3, 4), x, **arrays)
    np.testing.assert_allclose(y[1, 2], x[1, 2] @ weight + bias)
    places = {"p.places": RANDOM.normal(size=(5, 3))}
    np.testing.assert_array_equal(
        compute(PositionEmbedding("p", 5, 3), x, **places), x + places["p.places"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_float32_stays_float32(kind: str) -> None:
    spec = model(kind)
    arrays, images, labels = problem(spec)
    single = reference.logits(spec, arrays, images, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, reference.logits(spec, arrays, images), rtol=1e-3, atol=1e-5)
    loss, gradients, running = reference.step(spec, arrays, images, labels, dtype=np.float32)
    exact = reference.step(spec, arrays, images, labels)
    assert {one.dtype for one in (*gradients.values(), *running.values())} == {np.dtype("f4")}
    assert loss == pytest.approx(exact[0], rel=1e-5)

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from distlab.fairness import reference
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distlab.models.shipped import MODELS
from distlab.models.spec import ModelSpec
from distlab.models.weights import draw


def random_problem(spec, samples, seed):
    """Weights (biases too), images and labels in general position: no kinks, no ties."""
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(0, 0.5, shape) for name, shape in spec.parameters.items()}
    images = rng.random((samples, *spec.input_shape))
    return weights, images, rng.integers(0, spec.classes, samples)


# The forward pass, by hand and against SciPy


def test_dense_by_hand():
    spec = ModelSpec("m", (Flatten(), Dense("d", 2, 2)), (1, 1, 2))
    weights = {"d.weight": np.array([[1.0, 2.0], [3.0, 4.0]]), "d.bias": np.array([0.5, -0.5])}
    image = np.array([1.0, 2.0]).reshape(1, 1, 1, 2)
    np.testing.assert_array_equal(reference.logits(spec, weights, image), [[7.5, 9.5]])

    loss, gradients = reference.loss_and_gradients(spec, weights, image, np.array([0]))
    assert loss == pytest.approx(math.log(1 + math.exp(2)), rel=1e-15)
    p1 = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(gradients["d.bias"], [-p1, p1], rtol=1e-14)
    np.testing.assert_allclose(gradients["d.weight"], [[-p1, p1], [-2 * p1, 2 * p1]], rtol=1e-14)


def test_convolution_is_cross_correlation_with_padding_and_bias():
    spec = ModelSpec("m", (Conv2D("c", 3, 4, kernel=3, padding=1), Flatten()), (3, 5, 6))
    weights, images, _ = random_problem(spec, 2, seed=0)
    expected = np.empty((2, 4, 5, 6))
    for n in range(2):
        padded = np.pad(images[n], ((0, 0), (1, 1), (1, 1)))
        for o in range(4):
            correlated = correlate(padded, weights["c.weight"][o], mode="valid", method="direct")
            expected[n, o] = correlated[0] + weights["c.bias"][o]
    actual = reference.logits(spec, weights, images)
    np.testing.assert_allclose(actual, expected.reshape(2, -1), rtol=1e-12)


def test_relu_max_pool_and_flatten_by_hand():
    # two 1x1 filters, x and -x, so that the channels are told apart after flattening
    layers = (Conv2D("c", 1, 2, kernel=1), ReLU(), MaxPool2D(2), Flatten())
    spec = ModelSpec("m", layers, (1, 2, 4))
    weights = {"c.weight": np.array([1.0, -1.0]).reshape(2, 1, 1, 1), "c.bias": np.zeros(2)}
    image = np.array([[1.0, 2, -5, -6], [4, 3, -8, -7]]).reshape(1, 1, 2, 4)
    np.testing.assert_array_equal(reference.logits(spec, weights, image), [[4, 0, 0, 8]])


def test_huge_logits_do_not_overflow():
    spec = ModelSpec("m", (Flatten(), Dense("d", 1, 2)), (1, 1, 1))
    weights = {"d.weight": np.array([[1e4, -1e4]]), "d.bias": np.zeros(2)}
    image = np.ones((1, 1, 1, 1))
    with np.errstate(over="raise", invalid="raise"):
        loss, gradients = reference.loss_and_gradients(spec, weights, image, np.array([1]))
    assert loss == 2e4
    np.testing.assert_array_equal(gradients["d.bias"], [1, -1])


def test_the_loss_is_the_mean_over_the_batch():
    spec = MODELS["mlp"]
    weights, images, labels = random_problem(spec, 6, seed=1)
    loss, gradients = reference.loss_and_gradients(spec, weights, images, labels)
    singles = [
        reference.loss_and_gradients(spec, weights, images[i : i + 1], labels[i : i + 1])
        for i in range(6)
    ]
    assert loss == pytest.approx(np.mean([single[0] for single in singles]), rel=1e-12)
    for name in spec.parameters:
        mean = np.mean([single[1][name] for single in singles], axis=0)
        np.testing.assert_allclose(gradients[name], mean, rtol=1e-9, atol=1e-13)


def test_float32_is_used_when_asked():
    weights, images, _ = random_problem(MODELS["lenet5"], 2, seed=2)
    exact = reference.logits(MODELS["lenet5"], weights, images)
    single = reference.logits(MODELS["lenet5"], weights, images, np.float32)
    assert exact.dtype == np.float64
    assert single.dtype == np.float32
    assert 0 < np.abs(single - exact).max() < 1e-4 * np.abs(exact).max()


# The gradients, at kinks by hand, elsewhere against central differences


def test_a_tie_in_max_pool_goes_to_the_first_in_row_major_order():
    layers = (Conv2D("c", 1, 1, kernel=2), MaxPool2D(2), Flatten(), Dense("d", 1, 2))
    spec = ModelSpec("m", layers, (1, 3, 3))
    weights = {
        "c.weight": np.zeros((1, 1, 2, 2)),
        "c.bias": np.zeros(1),
        "d.weight": np.array([[1.0, 0.0]]),
        "d.bias": np.zeros(2),
    }
    image = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    _, gradients = reference.loss_and_gradients(spec, weights, image, np.array([0]))
    # all four outputs are 0; softmax is (1/2, 1/2), so -1/2 flows to the patch at the top left
    np.testing.assert_array_equal(gradients["c.weight"][0, 0], [[-0.5, -1], [-2, -2.5]])
    np.testing.assert_array_equal(gradients["c.bias"], [-0.5])


def test_relu_passes_no_gradient_at_zero():
    layers = (Flatten(), Dense("a", 1, 2), ReLU(), Dense("b", 2, 2))
    spec = ModelSpec("m", layers, (1, 1, 1))
    weights = {
        "a.weight": np.array([[0.0, 1.0]]),
        "a.bias": np.zeros(2),
        "b.weight": np.eye(2),
        "b.bias": np.zeros(2),
    }
    _, gradients = reference.loss_and_gradients(spec, weights, np.ones((1, 1, 1, 1)), np.array([0]))
    assert gradients["a.bias"][0] == 0
    assert gradients["a.bias"][1] > 0.5


@st.composite
def specs(draw_from):
    """Small models of every kind of layer, in any order that fits."""
    side = st.integers(1, 3)
    channels, height, width = draw_from(side), 2 * draw_from(side) + 4, 2 * draw_from(side) + 4
    input_shape = (channels, height, width)
    layers = []
    for index in range(draw_from(st.integers(0, 2))):
        kernel, padding = draw_from(st.integers(1, 3)), draw_from(st.integers(0, 2))
        outputs = draw_from(side)
        layers.append(Conv2D(f"conv{index}", channels, outputs, kernel, padding))
        channels, height, width = layers[-1].output_shape((channels, height, width))
        if draw_from(st.booleans()):
            layers.append(ReLU())
        sizes = [size for size in (2, 3) if height % size == width % size == 0]
        if sizes and draw_from(st.booleans()):
            layers.append(MaxPool2D(draw_from(st.sampled_from(sizes))))
            channels, height, width = layers[-1].output_shape((channels, height, width))
    layers.append(Flatten())
    inputs = channels * height * width
    for index in range(draw_from(st.integers(1, 3))):
        if index:
            layers.append(ReLU())
        outputs = draw_from(st.integers(2, 5))
        layers.append(Dense(f"dense{index}", inputs, outputs))
        inputs = outputs
    return ModelSpec("random", tuple(layers), input_shape)


def assert_gradients_are_central_differences(spec, samples, seed):
    """Compare each parameter's gradient along random directions; step 1e-6, error about 1e-9."""
    weights, images, labels = random_problem(spec, samples, seed)
    _, gradients = reference.loss_and_gradients(spec, weights, images, labels)
    assert list(gradients) == list(spec.parameters)
    rng = np.random.default_rng(seed + 1)
    for name, shape in spec.parameters.items():
        assert gradients[name].shape == shape
        for _ in range(3):
            direction = rng.normal(size=shape)
            direction /= np.linalg.norm(direction)
            ends = [
                reference.loss_and_gradients(
                    spec, {**weights, name: weights[name] + step * direction}, images, labels
                )[0]
                for step in (1e-6, -1e-6)
            ]
            numeric = (ends[0] - ends[1]) / 2e-6
            analytic = float((gradients[name] * direction).sum())
            assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-8), name


@settings(max_examples=60, deadline=None, derandomize=True)
@given(spec=specs(), samples=st.integers(1, 3), seed=st.integers(0, 1000))
def test_gradients_of_any_model_are_central_differences(spec, samples, seed):
    assert_gradients_are_central_differences(spec, samples, seed)


@pytest.mark.parametrize("name", ["mlp", "lenet5"])
def test_gradients_of_our_models_are_central_differences(name):
    assert_gradients_are_central_differences(MODELS[name], samples=4, seed=0)


# Adam


def scalar_adam(theta, gradients, alpha, beta1, beta2, epsilon):
    """Algorithm 1 of Kingma & Ba (2015), line by line, for one number."""
    m = v = t = 0
    path = []
    for g in gradients:
        t = t + 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = theta - alpha * m_hat / (math.sqrt(v_hat) + epsilon)
        path.append(theta)
    return path


@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
def test_adam_is_algorithm_1(epsilon):
    gradients = [0.3, -0.02, 1e-4, 5.0, -0.7, 0.0]
    expected = scalar_adam(1.5, gradients, 0.01, 0.8, 0.95, epsilon)
    adam = reference.Adam(0.01, 0.8, 0.95, epsilon)
    weights = {"w": np.array([1.5])}
    for t, (g, theta) in enumerate(zip(gradients, expected, strict=True), start=1):
        weights = adam.step(weights, {"w": np.array([g])})
        assert adam.t == t
        assert weights["w"][0] == pytest.approx(theta, rel=1e-14)


def test_epsilon_is_added_to_the_bias_corrected_root():
    # after one step m_hat = g and v_hat = g**2; with epsilon inside, or before the bias
    # correction (Keras), the change would be another by far
    adam = reference.Adam(1.0, epsilon=0.1)
    weights = adam.step({"w": np.zeros(1)}, {"w": np.array([0.1])})
    assert weights["w"][0] == pytest.approx(-0.5, rel=1e-12)


def test_adam_keeps_moments_and_leaves_its_input_alone():
    adam = reference.Adam(0.1)
    before = {"w": np.ones(2, np.float32)}
    after = adam.step(before, {"w": np.array([2.0, -4.0])})
    np.testing.assert_array_equal(before["w"], [1, 1])
    np.testing.assert_allclose(adam.m["w"], [0.2, -0.4], rtol=1e-14)
    np.testing.assert_allclose(adam.v["w"], [0.004, 0.016], rtol=1e-12)
    assert after["w"].dtype == np.float64


# Whole trajectories and losses of samples


def test_losses_are_those_before_each_update():
    spec = MODELS["mlp"]
    weights, images, labels = random_problem(spec, 20, seed=3)
    order = np.random.default_rng(0).permutation(20).reshape(2, 10)
    first, gradients = reference.loss_and_gradients(
        spec, weights, images[order[0]], labels[order[0]]
    )
    moved = reference.Adam(1e-3).step(weights, gradients)
    second, _ = reference.loss_and_gradients(spec, moved, images[order[1]], labels[order[1]])
    assert reference.losses(spec, weights, images, labels, order).tolist() == [first, second]


def test_training_goes_on_with_the_optimizers_constants_and_state():
    spec = MODELS["mlp"]
    weights, images, labels = random_problem(spec, 20, seed=4)
    order = np.random.default_rng(0).permutation(20).reshape(4, 5)
    constants = 2e-3, 0.5, 0.9, 1e-2
    losses, moved = reference.train(
        spec, reference.Adam(*constants), weights, images, labels, order
    )
    adam = reference.Adam(*constants)
    first, weights = reference.train(spec, adam, weights, images, labels, order[:1])
    others, weights = reference.train(spec, adam, weights, images, labels, order[1:])
    np.testing.assert_array_equal(np.append(first, others), losses)
    for name, array in moved.items():
        np.testing.assert_array_equal(weights[name], array)


def test_training_lowers_the_loss_of_lenet5():
    spec = MODELS["lenet5"]
    rng = np.random.default_rng(0)
    images, labels = rng.random((64, 1, 28, 28), np.float32), rng.integers(0, 10, 64)
    order = np.tile(np.arange(64), (10, 1))
    trajectory = reference.losses(spec, draw(spec, 0), images, labels, order)
    assert trajectory[-1] < 0.8 * trajectory[0]


@pytest.mark.parametrize("name", ["mlp", "lenet5"])
def test_cross_entropies_are_those_that_training_averages(name):
    spec = MODELS[name]
    weights, images, labels = random_problem(spec, 23, seed=5)
    losses = reference.cross_entropies(reference.logits(spec, weights, images), labels)
    mean, _ = reference.loss_and_gradients(spec, weights, images, labels)
    assert losses.mean() == pytest.approx(mean, rel=1e-12)


def test_no_samples_have_no_outputs():
    spec = MODELS["lenet5"]
    outputs = reference.logits(spec, draw(spec, 0), np.zeros((0, 1, 28, 28), np.float32))
    assert outputs.shape == (0, 10)
    assert reference.cross_entropies(outputs, np.zeros(0, np.int64)).shape == (0,)

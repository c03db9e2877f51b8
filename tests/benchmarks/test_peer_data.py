"""The peers read MNIST by themselves; what they read must be what distlab trains on."""

import os

import mnist
import numpy as np
import pytest

from distlab.data import sources


def test_embedded_images_are_a_balanced_part_of_the_5000() -> None:
    images, labels = mnist.training_set("mnist5k")
    assert images.shape == (4000, 28, 28) and images.dtype == np.float32
    assert np.bincount(labels).tolist() == [400] * 10
    data = sources.load("mnist5k")
    known = {image.tobytes() for image in (*data.train_images, *data.test_images)}
    assert all((image * 255).round().astype(np.uint8).tobytes() in known for image in images)


@pytest.mark.skipif(
    "DISTLAB_DATA_DIR" not in os.environ, reason="needs MNIST: DISTLAB_DATA_DIR is not set"
)
def test_mnist_is_bit_for_bit_that_of_distlab() -> None:
    images, labels = mnist.training_set("mnist")
    (expected, expected_labels), _ = sources.load("mnist").normalized()
    assert np.array_equal(images, expected[:, 0])
    assert np.array_equal(labels, expected_labels)

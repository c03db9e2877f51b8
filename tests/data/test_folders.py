"""Folders of IDX files as people have them: torchvision's, Kaggle's, and of any form."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distlab.data import sources
from distlab.data.dataset import Form
from distlab.errors import DistlabError

Encode = Callable[..., bytes]
RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (12, 28, 28), np.uint8)
LABELS = (np.arange(12) % 10).astype(np.uint8)
FOUR = {
    "train-images-idx3-ubyte": IMAGES,
    "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": IMAGES[:5],
    "t10k-labels-idx1-ubyte": LABELS[:5],
}


@pytest.mark.parametrize(
    "place",
    [
        "{name}",  # as they are published
        "raw/{name}",  # torchvision, the folder MNIST
        "MNIST/raw/{name}",  # torchvision, its root
        "{name}/{name}",  # Kaggle's archives, unpacked
        "{dotted}",  # Kaggle's other names
    ],
)
@pytest.mark.parametrize("name", ["mnist", "idx"])
def test_torchvisions_and_kaggles_layouts_are_one_data_set(
    tmp_path: Path, encode: Encode, place: str, name: str
) -> None:
    for file, values in FOUR.items():
        path = tmp_path / place.format(name=file, dotted=file.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(values))
    data = sources.load(name, str(tmp_path))
    np.testing.assert_array_equal(data.train_images, IMAGES)
    np.testing.assert_array_equal(data.test_labels, LABELS[:5])
    assert data.name == f"idx:{data.checksum[:8]}", "the same data, whichever option led to them"


def floats(array: Any) -> bytes:
    """An IDX file of floats, written from the format's description."""
    header = bytes([0, 0, 0x0D, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(">f4").tobytes()


def test_any_shape_and_number_of_classes(tmp_path: Path, encode: Encode) -> None:
    colours = RNG.random((12, 6, 7, 3), np.float32)
    labels = (np.arange(12) % 3).astype(np.uint8)
    for part, count in (("mine-train", 12), ("mine-test", 4)):
        (tmp_path / f"{part}-images-idx4-float").write_bytes(floats(colours[:count]))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(encode(labels[:count], True))
    data = sources.load("idx", str(tmp_path))
    assert data.form == Form((3, 6, 7), 3)
    np.testing.assert_array_equal(data.train_images, colours.transpose(0, 3, 1, 2), strict=True)
    few = sources.load("idx", str(tmp_path), samples=9, test_samples=2)
    assert (len(few.train_labels), len(few.test_labels)) == (9, 2)


def test_what_is_missing_or_twice_is_named(tmp_path: Path, encode: Encode) -> None:
    def found() -> str:
        with pytest.raises(DistlabError) as caught:
            sources.load("idx", str(tmp_path / "a"))
        assert str(tmp_path / "a") in caught.value.asked
        assert "data.dir=" in caught.value.fix
        return caught.value.found

    assert found() == "there is no such folder"
    (tmp_path / "a").mkdir()
    assert "no train-images, train-labels, test-images, test-labels" in found()
    for file, values in FOUR.items():
        (tmp_path / "a" / file).write_bytes(encode(values))
    second = tmp_path / "a" / "other-train-labels-idx1-ubyte"
    second.write_bytes(encode(LABELS))
    assert "several train-labels" in found()
    second.unlink()
    (tmp_path / "a" / "t10k-images-idx3-ubyte").unlink()
    assert found() == "the folder has no test-images among its IDX files"


def test_floats_are_no_mnist(tmp_path: Path, encode: Encode) -> None:
    for file, values in FOUR.items():
        (tmp_path / file).write_bytes(encode(values))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(floats(IMAGES / 255))
    with pytest.raises(DistlabError, match="its elements are float32"):
        sources.load("mnist", str(tmp_path))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(floats(IMAGES[:5] / 255))
    assert sources.load("idx", str(tmp_path)).train_images.dtype == np.float32

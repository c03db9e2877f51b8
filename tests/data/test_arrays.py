"""Which axis is which, which values there may be, and labels: the rules for arrays from files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distlab.data import sources
from distlab.data.dataset import Form
from distlab.errors import DistlabError

RNG = np.random.default_rng(3)


def saved(folder: Path, **changed: Any) -> str:
    """A file of four arrays, 12 and 6 images of 3 x 8 x 9, four classes, some of them changed."""
    four = {
        "x_train": RNG.integers(0, 256, (12, 3, 8, 9), np.uint8),
        "y_train": np.arange(12) % 4,
        "x_test": RNG.integers(0, 256, (6, 3, 8, 9), np.uint8),
        "y_test": np.arange(6) % 4,
    }
    path = folder / "arrays.npz"
    np.savez(path, **{**four, **changed})
    return str(path)


def test_channels_first_and_last_are_the_same_data(tmp_path: Path) -> None:
    first = {name: RNG.integers(0, 256, (n, 3, 8, 9), np.uint8) for name, n in SIZES.items()}
    last = {name: images.transpose(0, 2, 3, 1) for name, images in first.items()}
    data = sources.load("npz", file=saved(tmp_path, **first))
    np.testing.assert_array_equal(data.train_images, first["x_train"])
    assert data.form == Form((3, 8, 9), 4)
    assert sources.load("npz", file=saved(tmp_path, **last)).checksum == data.checksum
    assert data.train_images.flags.c_contiguous


SIZES = {"x_train": 12, "x_test": 6}


@pytest.mark.parametrize("shape", [(8, 9), (1, 8, 9), (8, 9, 1)])
def test_grey_images_may_have_an_axis_of_one_channel(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    grey = {name: np.full((n, *shape), 7, np.uint8) for name, n in SIZES.items()}
    data = sources.load("npz", file=saved(tmp_path, **grey))
    assert data.train_images.shape == (12, 8, 9)
    assert data.form.shape == (1, 8, 9)


def test_an_axis_that_may_be_either_must_be_said(tmp_path: Path) -> None:
    both = {name: RNG.integers(0, 256, (n, 3, 8, 3), np.uint8) for name, n in SIZES.items()}
    neither = {name: RNG.integers(0, 256, (n, 2, 8, 8), np.uint8) for name, n in SIZES.items()}
    for changed, shape, layout in (
        (both, (3, 8, 3), "nchw"),
        (both, (3, 3, 8), "nhwc"),
        (neither, (2, 8, 8), "nchw"),
    ):
        file = saved(tmp_path, **changed)
        with pytest.raises(DistlabError) as caught:
            sources.load("npz", file=file)
        assert "data.layout=nhwc" in caught.value.fix
        assert sources.load("npz", file=file, layout=layout).form.shape == shape


def test_float32_is_taken_as_it_is_and_known_as_other_data(tmp_path: Path) -> None:
    exact = {name: RNG.random((n, 8, 9), np.float32) for name, n in SIZES.items()}
    data = sources.load("npz", file=saved(tmp_path, **exact))
    (images, labels), _ = data.normalized()
    assert images.shape == (12, 1, 8, 9)
    np.testing.assert_array_equal(images[:, 0], exact["x_train"], strict=True)
    assert labels.dtype == np.int64
    bytes_alone = {name: (255 * images).astype(np.uint8) for name, images in exact.items()}
    assert sources.load("npz", file=saved(tmp_path, **bytes_alone)).checksum != data.checksum


def test_labels_may_have_a_second_axis_and_any_whole_type(tmp_path: Path) -> None:
    plain = sources.load("npz", file=saved(tmp_path))
    same = {"y_train": (np.arange(12) % 4).astype(np.uint16)[:, None]}
    four = dict(np.load(saved(tmp_path)))
    for kind in (np.uint8, np.int32):
        changed = {**four, **same, "y_test": four["y_test"].astype(kind)}
        found = sources.load("npz", file=saved(tmp_path, **changed))
        assert found.train_labels.tolist() == plain.train_labels.tolist()
        assert found.test_labels.dtype == np.int64


def test_more_classes_than_a_byte_holds_are_told_apart(tmp_path: Path) -> None:
    many = sources.load("npz", file=saved(tmp_path, y_test=np.array([0, 1, 2, 3, 4, 999])))
    assert many.classes == 1000
    file = saved(tmp_path, **{**dict(np.load(saved(tmp_path))), "y_test": np.arange(6)})
    assert sources.load("npz", file=file).classes == 6


@pytest.mark.parametrize(
    ("changed", "told", "found"),
    [
        ({"x_train": RNG.random((12, 3, 8, 9))}, "x_train", "they are float64"),
        ({"x_train": np.full((12, 3, 8, 9), 2, np.float32)}, "x_train", "from 2 to 2"),
        ({"x_test": np.full((6, 3, 8, 9), np.nan, np.float32)}, "x_test", "from nan to nan"),
        ({"x_train": np.zeros((12, 216), np.uint8)}, "x_train", "shape 12 x 216"),
        ({"x_test": np.zeros((6, 3, 8, 8), np.uint8)}, "arrays.npz", "shape 6 x 3 x 8 x 8"),
        ({"x_test": np.zeros((6, 3, 8, 9), np.float32)}, "arrays.npz", "of float32"),
        ({"y_train": np.arange(11)}, "y_train", "11 labels for 12 images"),
        ({"y_train": np.arange(12.0)}, "y_train", "they are float64"),
        ({"y_train": np.eye(12, dtype=np.int64)}, "y_train", "shape 12 x 12"),
        ({"y_test": np.arange(6) - 1}, "y_test", "from -1 to 4"),
        ({"y_test": np.full(6, 2**40)}, "y_test", "1099511627776"),
        ({"y_test": np.zeros(6, int), "y_train": np.zeros(12, int)}, "arrays.npz", "labels are 0"),
    ],
)
def test_what_no_model_could_take_is_refused(
    tmp_path: Path, changed: dict[str, Any], told: str, found: str
) -> None:
    with pytest.raises(DistlabError) as caught:
        sources.load("npz", file=saved(tmp_path, **changed))
    assert told in caught.value.asked
    assert found in caught.value.found
    assert "data=mnist5k" in caught.value.fix


def test_other_data_than_were_asked_for_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    assert sources.load("npz", file=file, shape=(3, 8, 9), classes=4).classes == 4
    with pytest.raises(DistlabError, match=r"has \[3,8,9\]"):
        sources.load("npz", file=file, shape=(3, 9, 8))
    with pytest.raises(DistlabError, match="has 4"):
        sources.load("npz", file=file, classes=5)


def test_the_first_samples_alone_are_data_of_their_own(tmp_path: Path) -> None:
    file = saved(tmp_path)
    whole, few = sources.load("npz", file=file), sources.load("npz", file=file, samples=5)
    np.testing.assert_array_equal(few.train_images, whole.train_images[:5])
    assert (len(few.train_labels), len(few.test_labels)) == (5, 6)
    assert few.checksum != whole.checksum
    assert few.name == f"npz:{few.checksum[:8]}"
    assert few.classes == whole.classes
    assert few.source.startswith("the first 5 and 6 samples of file")
    with pytest.raises(DistlabError, match="has 12"):
        sources.load("npz", file=file, samples=13)

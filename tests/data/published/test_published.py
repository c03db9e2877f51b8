"""The published sets from a mirror and from a folder, and what EMNIST needs besides."""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distlab.data import sources
from distlab.data.published import catalogue
from distlab.data.published.catalogue import PUBLISHED, SPLITS
from distlab.errors import DistlabError

Encode = Callable[..., bytes]
RNG = np.random.default_rng(5)


def digits(classes: int = 10, first: int = 0, count: int = 20) -> tuple[Any, Any]:
    labels = (np.arange(count) % classes + first).astype(np.uint8)
    return RNG.integers(0, 256, (count, 28, 28), np.uint8), labels


def published_as(name: str, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let these files be the canonical ones."""
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], files=sums))


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_a_mirrors_files_are_verified_kept_and_called_canonical(
    name: str, tmp_path: Path, make_mirror: Any, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = dict(zip(catalogue.MNIST_FILES.values(), (*digits(), *digits(count=8)), strict=True))
    files = {file: encode(values, True) for file, values in four.items()}
    published_as(name, files, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("DISTLAB_DATA_DIR", str(tmp_path / "nowhere"))  # which is MNIST's alone
    mirror = make_mirror(files)
    data = sources.load(name, progress=False, urls=(mirror.url,))
    np.testing.assert_array_equal(data.train_images, four["train-images-idx3-ubyte.gz"])
    assert f"canonical {PUBLISHED[name].title}" in data.source
    assert data.name == f"{name}:{data.checksum[:8]}"
    assert (tmp_path / "distlab" / name / "t10k-labels-idx1-ubyte.gz").is_file()
    unused = make_mirror()
    assert sources.load(name, progress=False, urls=(unused.url,)).checksum == data.checksum
    assert (len(mirror.requests), len(unused.requests)) == (4, 0)
    # In a folder nothing vouches for them.
    again = sources.load(name, str(tmp_path / "distlab" / name))
    assert again.checksum == data.checksum
    assert "canonical Kuzushiji" not in again.source


def emnist(split: str, encode: Encode) -> tuple[dict[str, bytes], Any, Any]:
    """The members of EMNIST's archive for one split, the images as they should look, and labels."""
    first = 1 if split == "letters" else 0
    files = {}
    images, labels = digits(SPLITS[split], first, 70)
    for part, count in (("train", 70), ("test", 66)):
        stem = f"emnist-{split}-{part}"
        upside = images[:count].transpose(0, 2, 1)
        files[f"{stem}-images-idx3-ubyte.gz"] = encode(np.ascontiguousarray(upside), True)
        files[f"{stem}-labels-idx1-ubyte.gz"] = encode(labels[:count], True)
    return files, images, labels - first


def archive(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as members:
        for name, content in files.items():
            members.writestr(f"gzip/{name}", content)
    return whole.getvalue()


@pytest.mark.parametrize("split", SPLITS)
def test_emnist_stands_upright_and_its_labels_count_from_zero(
    split: str, tmp_path: Path, make_mirror: Any, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, images, labels = emnist(split, encode)
    content = {catalogue.EMNIST_ARCHIVE: archive(files)}
    published_as("emnist", content, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = sources.load("emnist", progress=False, urls=(make_mirror(content).url,), split=split)
    np.testing.assert_array_equal(data.train_images, images)
    np.testing.assert_array_equal(data.test_images, images[:66])
    assert data.train_labels.tolist() == labels.tolist()
    assert (data.classes, data.form.shape) == (SPLITS[split], (1, 28, 28))
    assert "canonical EMNIST" in data.source
    # Unpacked, as they come, or as torchvision has them, they are the same data.
    raw = tmp_path / "root" / "EMNIST" / "raw"
    for folder, plain in ((tmp_path / "dir" / "gzip", False), (raw, True)):
        folder.mkdir(parents=True)
        for name, packed in files.items():
            path = folder / (name.removesuffix(".gz") if plain else name)
            path.write_bytes(gzip.decompress(packed) if plain else packed)
    for folder in (tmp_path / "dir", tmp_path / "root"):
        assert sources.load("emnist", str(folder), split=split).checksum == data.checksum


def test_what_is_wrong_with_emnist_is_said(tmp_path: Path, encode: Encode) -> None:
    def refusal(**given: Any) -> DistlabError:
        with pytest.raises(DistlabError) as caught:
            sources.load("emnist", str(tmp_path), **given)
        return caught.value

    assert "the folder holds none of" in refusal(split="letters").found
    files, _, _ = emnist("digits", encode)
    path = tmp_path / catalogue.EMNIST_ARCHIVE
    path.write_bytes(archive(files))
    assert "emnist-letters-train" in refusal(split="letters").found
    assert sources.load("emnist", str(tmp_path), split="digits").classes == 10
    path.write_bytes(path.read_bytes()[:-30])
    assert "it cannot be read" in refusal(split="digits").found
    zero = {name.replace("digits", "letters"): content for name, content in files.items()}
    path.write_bytes(archive(zero))
    assert "label 0; expected labels from 1 to 26" in refusal(split="letters").found
    over = {
        name.replace("balanced", "digits"): c for name, c in emnist("balanced", encode)[0].items()
    }
    path.write_bytes(archive(over))
    assert "expected labels from 0 to 9" in refusal(split="digits").found


FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(
    not FASHION.is_dir(),
    reason="REAL FASHION-MNIST NOT READ: apt-get install dataset-fashion-mnist",
)
def test_the_real_fashion_mnist_is_known() -> None:
    data = sources.load("fashion_mnist", str(FASHION))
    assert data.name == "fashion-mnist"
    assert "(canonical Fashion-MNIST, sha256 " in data.source
    assert np.bincount(data.train_labels).tolist() == [6000] * 10

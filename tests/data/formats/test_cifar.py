"""CIFAR-10's binary version, of fewer records in a file: in its archive and unpacked."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from distlab.data import sources
from distlab.data.formats import cifar
from distlab.errors import DistlabError

RECORD = 3073
COUNT = 50


@pytest.fixture(autouse=True)
def fewer_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "RECORDS", COUNT)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Each file's records bear its number; a pixel is known by its place."""
    made = {}
    for number, name in enumerate((*cifar.TRAIN, *cifar.TEST)):
        table = np.zeros((COUNT, RECORD), np.uint8)
        table[:, 0] = np.arange(COUNT) % 10
        table[:, 1 + 0 * 1024] = number  # red, above and left
        table[:, 1 + 1 * 1024 + 2 * 32 + 5] = 17  # green, row 2, column 5
        made[name] = table.tobytes()
    return made


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def refusal(folder: Path) -> DistlabError:
    with pytest.raises(DistlabError) as caught:
        cifar.read(folder)
    assert str(folder) in caught.value.asked
    assert "data.dir=" in caught.value.fix
    return caught.value


def test_images_and_labels_are_in_their_place(tmp_path: Path, files: dict[str, bytes]) -> None:
    unpacked(tmp_path / "a" / cifar.FOLDER, files)
    (images, labels), (test_images, test_labels) = cifar.read(tmp_path / "a")
    assert (images.shape, test_images.shape) == ((5 * COUNT, 3, 32, 32), (COUNT, 3, 32, 32))
    assert images[::COUNT, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert test_images[0, 0, 0, 0] == 5
    assert (images[:, 1, 2, 5] == 17).all() and images[:, 1].sum() == 17 * 5 * COUNT
    assert labels[:12].tolist() == [*range(10), 0, 1]
    assert len(test_labels) == COUNT
    data = sources.load("cifar10", str(tmp_path / "a" / cifar.FOLDER))
    assert data.form == ((3, 32, 32), 10)
    assert data.name.startswith("cifar10:")
    # The archive is the same data, read in one pass and never unpacked.
    (tmp_path / "b").mkdir()
    packed(tmp_path / "b" / cifar.ARCHIVE, files)
    assert sources.load("cifar10", str(tmp_path / "b")).checksum == data.checksum
    assert [one.name for one in (tmp_path / "b").iterdir()] == [cifar.ARCHIVE]


def test_a_wrong_file_is_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = unpacked(tmp_path / "a", {**files, "data_batch_3.bin": files["data_batch_3.bin"][1:]})
    assert "data_batch_3.bin" in refusal(folder).asked
    (folder / "data_batch_3.bin").unlink()
    assert "data_batch_3.bin" in refusal(folder).asked
    assert "there is no such folder" in refusal(tmp_path / "none").found
    (tmp_path / "py" / "cifar-10-batches-py").mkdir(parents=True)
    assert "pickles run code" in refusal(tmp_path / "py").found


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    few = {"test_batch.bin": bytes(COUNT * RECORD)}
    path = packed(tmp_path / cifar.ARCHIVE, few)
    assert "it has none" in refusal(tmp_path).found
    path.write_bytes(path.read_bytes()[:200])
    assert "damaged" in refusal(tmp_path).found
    packed(path, {"test_batch.bin": b"short"})
    assert "it has 5 bytes" in refusal(tmp_path).found


def test_a_label_above_nine_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    unpacked(tmp_path / "a", {**files, "test_batch.bin": b"\x0a" + files["test_batch.bin"][1:]})
    with pytest.raises(DistlabError, match="label 10"):
        sources.load("cifar10", str(tmp_path / "a"))

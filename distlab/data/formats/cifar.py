"""The binary version of CIFAR-10 (Krizhevsky 2009), in its archive or unpacked.

Each record is a byte, the label, and 3,072 bytes: 32 x 32 red, then green, then blue values. The
version for Python is pickles, which run code when they are read; it is never read here.
"""

import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from distlab.data.formats import bounded
from distlab.data.formats.bounded import Stream
from distlab.files import opened

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)

SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
RECORDS = 10_000
"""In each file."""

Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read(folder: Path) -> tuple[Part, Part]:
    """Images ``[n, 3, 32, 32]`` and labels of the training and of the test set.

    Parameters
    ----------
    folder:
        Holds the archive, the folder that is in it, or that folder's files.

    Raises
    ------
    distlab.errors.DistlabError
        If a file is missing, or is not what it should be.
    """
    for place in (folder, folder / FOLDER):
        if (place / TEST[0]).is_file():
            return _files(place, TRAIN), _files(place, TEST)
    archive = folder / ARCHIVE
    if archive.is_file():
        return _archive(archive)
    pickled = (folder / "cifar-10-batches-py").is_dir() or (folder / "data_batch_1").is_file()
    _refuse(
        folder / TEST[0],
        f"{ARCHIVE}, {FOLDER} or its files",
        "the folder has the version for Python, whose pickles run code when they are read"
        if pickled
        else "the folder has none of these"
        if folder.is_dir()
        else "there is no such folder",
    )


def _files(folder: Path, names: tuple[str, ...]) -> Part:
    parts = []
    for name in names:
        try:
            with opened(folder / name) as raw:
                parts.append(_records(raw, os.fstat(raw.fileno()).st_size, folder / name))
        except OSError as error:
            reason = f"it cannot be read ({error.strerror or error})"
            _refuse(folder / name, "a readable file", reason)
    return _joined(parts)


def _archive(path: Path) -> tuple[Part, Part]:
    """Read what is wanted in one pass, in the order in which it stands; nothing is unpacked."""
    found: dict[str, Part] = {}
    with _opened_archive(path) as archive:
        for member in archive:
            name = Path(member.name).name
            stream = archive.extractfile(member) if name in TRAIN + TEST else None
            if stream is not None and name not in found:
                found[name] = _records(stream, member.size, path)
    for name in TRAIN + TEST:
        if name not in found:
            _refuse(path, f"an archive with {name}", "it has none")
    return _joined([found[name] for name in TRAIN]), _joined([found[name] for name in TEST])


@contextmanager
def _opened_archive(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with opened(path) as raw, tarfile.open(fileobj=raw, mode="r|gz") as archive:
            yield archive
    except (tarfile.TarError, zlib.error, EOFError) as error:
        _refuse(path, "a sound tar.gz", f"it is damaged ({error})")
    except OSError as error:
        _refuse(path, "a readable tar.gz", f"it cannot be read ({error.strerror or error})")


def _records(stream: Stream, size: int, path: Path) -> Part:
    """The records of one file."""
    if size != RECORDS * _RECORD:
        expected = f"{RECORDS:,} records of {_RECORD:,} bytes"
        _refuse(path, expected, f"it has {size:,} bytes")
    content = bounded.content(
        *(stream, size, f"{size:,} bytes"),
        lambda expected, found: _refuse(path, expected, found),
    )
    table = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return table[:, 1:].reshape(-1, *SHAPE), table[:, 0]


def _joined(parts: list[Part]) -> Part:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _refuse(path: Path, expected: str, found: str) -> NoReturn:
    again = (
        f"data.dir=/path/to/folder (a folder with {ARCHIVE} of "
        "https://www.cs.toronto.edu/~kriz/cifar.html)\ndata.dir=null (download)"
    )
    raise bounded.refusal("CIFAR-10", path, expected, found, again) from None

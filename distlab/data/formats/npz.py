"""NumPy's ``.npz``: a zip of arrays, of which four are a training and a test set, as Keras' are."""

import contextlib
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from distlab.data.formats import bounded
from distlab.data.formats.bounded import LARGEST_ARRAY
from distlab.files import opened

NAMES = ("x_train", "y_train", "x_test", "y_test")
"""The arrays that there must be: images and labels to train with, and to test with."""

_MOST_DIMENSIONS = 4
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(NotImplementedError, RuntimeError, UnicodeDecodeError),
)
"""What reading a damaged zip raises."""


def read(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The four arrays, of whatever numbers and shapes they are.

    Nothing in the file is run: arrays of Python objects, which are pickles, are refused. Memory is
    bounded as in :mod:`distlab.data.formats.idx`.

    Raises
    ------
    distlab.errors.DistlabError
        If the file cannot be read, is no sound zip, or lacks one of the four.
    """
    try:
        with opened(path) as raw:
            if (size := os.fstat(raw.fileno()).st_size) > 2 * LARGEST_ARRAY:
                _refuse(path, f"at most {2 * LARGEST_ARRAY:,} bytes", f"it has {size:,} bytes")
            with zipfile.ZipFile(raw) as archive:
                images, labels, test_images, test_labels = (
                    _array(archive, name, path) for name in NAMES
                )
                return images, labels, test_images, test_labels
    except DAMAGES as error:
        _refuse(path, "a sound zip of NumPy arrays", f"it is none ({error})")
    except OSError as error:
        _refuse(path, "a readable file", f"it cannot be read ({error.strerror or error})")


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    """One of the arrays; a header may announce anything."""
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        held = ", ".join(one.removesuffix(".npy") for one in archive.namelist()[:8])
        _refuse(path, f"the arrays {', '.join(NAMES)}", f"it has no {name}, it has {held:.200}")
    with archive.open(member) as stream:
        header = None
        with contextlib.suppress(ValueError, SyntaxError):
            read_header = _HEADERS.get(npy.read_magic(stream))
            header = read_header(stream) if read_header else None
        if not header:
            _refuse(path, "NumPy arrays of format 1.0 or 2.0", f"{name} is none")
        shape, by_columns, kind = header
        if kind.kind not in "buif":
            _refuse(path, "numbers", f"{name} holds {kind}")
        announced = math.prod(shape) * kind.itemsize
        if not 1 <= len(shape) <= _MOST_DIMENSIONS or not 0 < announced <= LARGEST_ARRAY:
            layout = " x ".join(map(str, shape)) or "one number"
            _refuse(
                path,
                f"1 to {_MOST_DIMENSIONS} dimensions and 1 to {LARGEST_ARRAY:,} bytes",
                f"{name} announces {layout} of {kind}",
            )
        content = bounded.content(
            *(stream, announced, f"{announced:,} bytes in {name}"),
            lambda expected, found: _refuse(path, expected, found),
        )
    return np.frombuffer(content, kind).reshape(shape, order="F" if by_columns else "C")


def _refuse(path: Path, expected: str, found: str) -> NoReturn:
    again = "data.file=/path/to/another.npz"
    raise bounded.refusal(".npz", path, expected, found, again) from None

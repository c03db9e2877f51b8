"""The IDX file format of MNIST, gzipped or plain.

The format is described on the page of the MNIST database (Y. LeCun, C. Cortes, C. Burges): two
zero bytes, one byte for the element type (0x08: unsigned byte, 0x0D: float), one for the number of
dimensions, each dimension as a big-endian 32-bit integer, then the elements in C order, big-endian.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from distlab.data.formats import bounded
from distlab.data.formats.bounded import LARGEST_ARRAY
from distlab.files import opened

Values = NDArray[np.uint8] | NDArray[np.float32]

_GZIP_MAGIC = b"\x1f\x8b"
_TYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0D: np.dtype(">f4")}
_MOST_DIMENSIONS = 4
_HEADER = 2**16  # of IDX and of gzip, and what gzip adds to what it cannot compress


def read(path: str | Path) -> Values:
    """Read one IDX file of unsigned bytes or floats.

    Whether the file is gzipped is seen from its content, not its name. Memory grows with what the
    file really holds, never with what its header announces, and to
    :data:`~distlab.data.formats.bounded.LARGEST_ARRAY` bytes at most.

    Parameters
    ----------
    path:
        The file.

    Returns
    -------
    numpy.ndarray
        uint8 or float32, with the 1 to 4 dimensions that the header names; writable and
        C-contiguous.

    Raises
    ------
    distlab.errors.DistlabError
        If the file cannot be read, is not a sound gzip stream, or is not exactly one IDX array of
        unsigned bytes or floats.
    """
    path = Path(path)
    try:
        with opened(path) as raw:
            if (size := os.fstat(raw.fileno()).st_size) > LARGEST_ARRAY + _HEADER:
                _refuse(path, f"at most {LARGEST_ARRAY:,} bytes", f"it has {size:,} bytes")
            return read_stream(raw, path)
    except OSError as error:
        _refuse(path, "a readable file", f"it cannot be read ({error.strerror or error})")


def read_stream(raw: BinaryIO, path: Path) -> Values:
    """Read an IDX file, as :func:`read` does, that is a part of another one.

    Parameters
    ----------
    raw:
        Stands at its beginning, and can go back there.
    path:
        What it is called in errors.
    """
    try:
        gzipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not gzipped:
            return _parse(raw, path)
        with gzip.GzipFile(fileobj=raw) as stream:
            return _parse(stream, path)
    except EOFError:
        _refuse(path, "a complete gzip stream", "the compressed data end too early (truncated)")
    except (gzip.BadGzipFile, zlib.error) as error:
        _refuse(path, "a sound gzip stream", f"the compressed data are corrupt ({error})")


def _parse(stream: gzip.GzipFile | BinaryIO, path: Path) -> Values:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        _refuse(path, "the IDX magic 00 00 08 0x", f"it begins with {magic.hex(' ') or 'nothing'}")
    kind = _TYPES.get(magic[2])
    if kind is None:
        found = f"its elements have type 0x{magic[2]:02x}"
        _refuse(path, "unsigned bytes (type 0x08) or floats (0x0d)", found)
    if not 1 <= magic[3] <= _MOST_DIMENSIONS:
        _refuse(path, f"1 to {_MOST_DIMENSIONS} dimensions", f"its header announces {magic[3]}")

    header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        _refuse(path, f"a header of {magic[3]} dimensions", "it ends within the header (truncated)")
    shape = struct.unpack(f">{magic[3]}I", header)
    announced = math.prod(shape)
    layout = " x ".join(map(str, shape))
    if not 0 < announced * kind.itemsize <= LARGEST_ARRAY:
        _refuse(path, f"1 to {LARGEST_ARRAY:,} bytes", f"its header announces {layout}")
    content = bounded.content(
        *(stream, announced * kind.itemsize, f"{announced:,} elements ({layout})"),
        lambda expected, found: _refuse(path, expected, found),
    )
    values = np.frombuffer(content, kind).reshape(shape)
    return values if kind == np.uint8 else values.astype(np.float32)


def _refuse(path: Path, expected: str, found: str) -> NoReturn:
    again = "data.dir=/path/to/idx/files (another folder)"
    raise bounded.refusal("IDX", path, expected, found, again) from None

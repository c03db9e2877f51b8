"""The IDX file format of MNIST, gzipped or plain.

The format is described on the page of the MNIST database (Y. LeCun, C. Cortes, C. Burges): two
zero bytes, one byte for the element type (0x08: unsigned byte), one for the number of dimensions,
each dimension as a big-endian 32-bit integer, then the elements in C order.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from distlab.errors import DistlabError
from distlab.files import opened

OTHER_DATA = "data=mnist5k (5,000 MNIST images, embedded, no file needed)"
"""The fix that always works, for the errors of this package."""

LARGEST_ARRAY = 2**28
"""Most bytes of one array, and of one file: 342,392 images, more than any set of ten digits has.

EMNIST's digits are 280,000 (Cohen et al. 2017), MNIST's are 70,000.
"""

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_MOST_DIMENSIONS = 3
_CHUNK = 2**20
_HEADER = 2**16  # of IDX and of gzip, and what gzip adds to what it cannot compress


def read(path: str | Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Whether the file is gzipped is seen from its content, not its name. Memory grows with what the
    file really holds, never with what its header announces, and to :data:`LARGEST_ARRAY` at most.

    Parameters
    ----------
    path:
        The file.

    Returns
    -------
    numpy.ndarray
        uint8, with the 1 to 3 dimensions that the header names; writable and C-contiguous.

    Raises
    ------
    distlab.errors.DistlabError
        If the file cannot be read, is not a sound gzip stream, or is not exactly one IDX array of
        unsigned bytes.
    """
    path = Path(path)
    try:
        with opened(path) as raw:
            if (size := os.fstat(raw.fileno()).st_size) > LARGEST_ARRAY + _HEADER:
                found = f"it has {size:,} bytes"
                _refuse(path, f"at most {LARGEST_ARRAY:,} elements", found)
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
    except OSError as error:
        _refuse(path, "a readable file", f"it cannot be read ({error.strerror or error})")


def _parse(stream: gzip.GzipFile | BinaryIO, path: Path) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        _refuse(path, "the IDX magic 00 00 08 0x", f"it begins with {magic.hex(' ') or 'nothing'}")
    if magic[2] != _UNSIGNED_BYTE:
        _refuse(path, "unsigned bytes (type 0x08)", f"its elements have type 0x{magic[2]:02x}")
    if not 1 <= magic[3] <= _MOST_DIMENSIONS:
        _refuse(path, f"1 to {_MOST_DIMENSIONS} dimensions", f"its header announces {magic[3]}")

    header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        _refuse(path, f"a header of {magic[3]} dimensions", "it ends within the header (truncated)")
    shape = struct.unpack(f">{magic[3]}I", header)
    announced = math.prod(shape)
    layout = " x ".join(map(str, shape))
    if not 0 < announced <= LARGEST_ARRAY:
        _refuse(path, f"1 to {LARGEST_ARRAY:,} elements", f"its header announces {layout}")

    content = bytearray()
    while chunk := stream.read(min(_CHUNK, announced + 1 - len(content))):
        content += chunk
    if len(content) < announced:
        found = f"it ends after {len(content):,} of them (truncated)"
        _refuse(path, f"{announced:,} elements ({layout})", found)
    if len(content) > announced:
        _refuse(path, f"{announced:,} elements ({layout})", "more bytes follow after them")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _refuse(path: Path, expected: str, found: str) -> NoReturn:
    raise DistlabError(
        asked=f"read the IDX file {path}",
        found=f"{found}; expected {expected}",
        fix=f"replace {path.name} by a sound copy\n"
        f"data.dir=/path/to/idx/files (another folder)\n{OTHER_DATA}",
    ) from None

"""Arrays and a few words about them as bytes that tell whether they are whole.

The bytes are NumPy's ``.npz`` without compression and without pickle: ``numpy.load`` reads them
anywhere. Two entries are text: ``about``, which is JSON, and ``sha256``, the digest of all else.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABOUT, DIGEST = "about", "sha256"
Arrays = Mapping[str, NDArray[Any]]


class DamagedError(ValueError):
    """Bytes that are no archive, or not the one that was written; says what is wrong."""


def packed(about: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The archive of some arrays by name, and of what JSON can hold about them."""
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    file = io.BytesIO()
    words = {ABOUT: np.array(text), DIGEST: np.array(_digest(text, arrays))}
    assert not any(array.dtype.hasobject for array in arrays.values())  # would be a pickle
    np.savez(file, **words, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What :func:`packed` was given.

    Raises
    ------
    DamagedError
        If it is not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as entries:
            # As written, an entry takes no more memory than it has bytes.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.infolist()):
                raise DamagedError("an entry is compressed")
        with np.load(io.BytesIO(data), allow_pickle=False) as entries:
            arrays = {name: entries[name] for name in entries.files}
        text, digest = str(arrays.pop(ABOUT)), str(arrays.pop(DIGEST))
        about = json.loads(text)
    except DamagedError:
        raise
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from error
    if digest != _digest(text, arrays):
        raise DamagedError("its SHA-256 is not the one that was written")
    if not isinstance(about, dict):
        raise DamagedError("it says nothing of itself")
    return about, arrays


def _digest(text: str, arrays: Arrays) -> str:
    """SHA-256 of the words and, by sorted names, of each array's name, type, shape and values."""
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

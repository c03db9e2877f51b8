"""Reading a file's content within bounds, whatever its header announces, and refusing a wrong file.

Memory grows with what a file really holds, and to :data:`LARGEST_ARRAY` at most.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

from distlab.errors import DistlabError

OTHER_DATA = "data=mnist5k (5,000 MNIST images, embedded, no file needed)"
"""The fix that always works, for the errors of this package."""

LARGEST_ARRAY = 2**30
"""Most bytes of one array, and of one file.

The largest set that is published in these formats, EMNIST's ``byclass``, has 697,932 training
images of 784 bytes, which is half of it (Cohen et al. 2017).
"""

_CHUNK = 2**20

Refuse = Callable[[str, str], NoReturn]
"""Raises the error for a file that is wrong: what was expected, and what was found."""


class Stream(Protocol):
    """What is read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


def content(stream: Stream, announced: int, what: str, refuse: Refuse) -> bytearray:
    """Read exactly ``announced`` bytes, behind which nothing may stand.

    Parameters
    ----------
    stream:
        Stands where the content begins.
    announced:
        How many bytes the header promises; at most :data:`LARGEST_ARRAY`.
    what:
        What they are, for the error: ``15,680 elements (20 x 28 x 28)``.
    refuse:
        Raises the error.
    """
    found = bytearray()
    while chunk := stream.read(min(_CHUNK, announced + 1 - len(found))):
        found += chunk
    if len(found) < announced:
        refuse(what, f"it ends after {len(found):,} bytes of them (truncated)")
    if len(found) > announced:
        refuse(what, "more bytes follow after them")
    return found


def refusal(kind: str, path: Path, expected: str, found: str, again: str) -> DistlabError:
    """The error for a file that is wrong.

    Parameters
    ----------
    kind:
        What the file was taken for: ``IDX``.
    path:
        The file.
    expected, found:
        What it should have held, and what it holds.
    again:
        The option that names another file or folder.
    """
    return DistlabError(
        asked=f"read the {kind} file {path}",
        found=f"{found}; expected {expected}",
        fix=f"replace {path.name} by a sound copy\n{again}\n{OTHER_DATA}",
    )

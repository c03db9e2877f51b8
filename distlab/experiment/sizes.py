"""Numbers of workers that may change in a run: ``gpus=2..4``."""

import re
from typing import Any

from distlab.errors import DistlabError

_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


def bounds(gpus: Any) -> tuple[int, int] | None:
    """The least and the largest number of workers of ``gpus=2..4``; None of a fixed number."""
    found = _RANGE.fullmatch(str(gpus).strip())
    return (int(found[1]), int(found[2])) if found else None


def number(gpus: Any) -> int | None:
    """A fixed number of workers; None where it is left open or may change.

    Raises
    ------
    DistlabError
        If it is neither a number from 1 nor a range of such.
    """
    if gpus is None:
        return None
    if isinstance(gpus, int) and not isinstance(gpus, bool) and gpus >= 1:
        return gpus
    if re.fullmatch(r"[1-9]\d{0,8}", str(gpus)):
        return int(gpus)
    found = bounds(gpus)
    if found and 1 <= found[0] < found[1]:
        return None
    raise DistlabError(
        f"gpus={gpus}",
        "workers count from 1, and their number is one, or lies between two: gpus=2..4",
        "for example gpus=1",
    )


def dividing(least: int, most: int, batch: int) -> tuple[int, ...]:
    """The numbers of workers between two that divide a global batch.

    Raises
    ------
    DistlabError
        If there is none.
    """
    found = tuple(size for size in range(least, most + 1) if batch % size == 0)
    if not found:
        raise DistlabError(
            f"gpus={least}..{most} batch_size={batch}",
            "none of these numbers of workers divides the batch",
            f"batch_size={batch // most * most or most}",
        )
    return found

"""Numbers of workers that may change in a run: ``gpus=2..4``."""

import re
from typing import Any

from distlab.errors import DistlabError
from distlab.experiment.options import Engine, Options, Scaling

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


def in_study(options: Options) -> None:
    """Refuse what a study cannot compare.

    Raises
    ------
    DistlabError
        If the number of workers may change in a run.
    """
    if found := bounds(options.gpus):
        raise DistlabError(
            f"gpus={found[0]}..{found[1]} in a study",
            "a study compares cells, each on a fixed number of workers",
            f"gpus={found[0]},{found[1]} with -m",
        )


def check_elastic(options: Options, least: int, most: int) -> None:
    """Refuse a number of workers that may change where it cannot."""
    asked = f"gpus={least}..{most}"
    if options.repeats > 1 or options.study:
        in_study(options)
    if options.scaling is not Scaling.strong:
        raise DistlabError(
            f"{asked} with scaling={options.scaling}",
            "the global batch, and with it the mathematics, would change with the workers",
            f"{{command}} {asked} device={options.device} scaling=strong",
        )
    if options.engine is Engine.actors:
        raise DistlabError(
            f"{asked} with engine=actors",
            "their number is fixed; that of Ray Train's workers may change",
            "engine=train",
        )
    dividing(least, most, options.batch_size)

"""What compiling took a cell: anew, or found where an earlier run had left it."""

import statistics
from collections.abc import Sequence

from distlab.report.figures.runs import Run


def cached(runs: Sequence[Run]) -> bool | None:
    """Whether most runs found their compiled steps in a cache; None where none says."""
    said = [found for run in runs if (found := _found(run)) is not None]
    return 2 * sum(said) > len(said) if said else None


def cold(runs: Sequence[Run]) -> float | None:
    """Seconds of compiling where nothing is found: of runs that did, else as the cache says."""
    anew = [run["compile_s"] for run in runs if _found(run) is False]
    kept = [_resources(run).get("cold_compile_s") for run in runs if _found(run)]
    known = [seconds for seconds in anew or kept if seconds is not None]
    return statistics.median(known) if known else None


def _found(run: Run) -> bool | None:
    found = _resources(run).get("compiled_from_cache")
    return found if isinstance(found, bool) else None


def _resources(run: Run) -> Run:
    return run.get("resources") or {}

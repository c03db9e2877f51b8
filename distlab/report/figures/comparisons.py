"""Framework against framework: the ratio of throughputs under equal conditions, and a sentence.

Each interval is a 95 % interval by itself. Many pairs are compared in one study, so that some may
be told apart by chance; :func:`note` says how many, for a reader to weigh, and no interval is made
wider for it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from distlab.measure.statistics import FEWEST, Estimate
from distlab.report.figures.cells import Cell
from distlab.report.figures.runs import ratio

EQUAL = ("comparison_key", "precision", "world_size")


@dataclass(frozen=True)
class Comparison:
    """Two cells that differ in framework, its version or its execution, and in nothing else.

    Attributes
    ----------
    faster, slower:
        The cells; which is which goes by ``ratio``, whether the difference can be told or not.
    ratio:
        Throughput of ``faster`` over that of ``slower``, at least 1.
    told:
        Whether the interval lies above 1.
    sentence:
        All of it in words, without a full stop.
    """

    faster: Cell
    slower: Cell
    ratio: Estimate
    told: bool
    sentence: str


def compare(cells: Sequence[Cell]) -> list[Comparison]:
    """Compare every two ranked cells of one comparison key, precision and world size.

    Parameters
    ----------
    cells:
        All cells of the study, in order.

    Returns
    -------
    list of Comparison
        In the order of the cells. Cells that aren't ranked are in none.
    """
    ranked = [cell for cell in cells if cell.ranked and cell.comparison_key is not None]
    return [
        _comparison(one, other, ranked)
        for one, other in itertools.combinations(ranked, 2)
        if all(getattr(one, name) == getattr(other, name) for name in EQUAL)
    ]


def note(comparisons: Sequence[Comparison]) -> str | None:
    """What to keep in mind where many pairs are compared; None without any interval."""
    pairs = sum(comparison.ratio.low is not None for comparison in comparisons)
    if pairs == 0:
        return None
    if pairs == 1:
        return "1 pair was compared, with a 95 % interval"
    return (
        f"{pairs} pairs were compared, each with a 95 % interval of its own: among pairs that do "
        f"not differ, about one in 20 would be told apart by chance (of {pairs}, about "
        f"{pairs / 20:.1f})"
    )


def _comparison(one: Cell, other: Cell, ranked: Sequence[Cell]) -> Comparison:
    found = ratio(one.counted, other.counted)
    faster, slower = one, other
    if found.value < 1:
        faster, slower, found = other, one, found.inverted()
    told = found.excludes(1.0)
    return Comparison(
        faster=faster,
        slower=slower,
        ratio=found,
        told=told,
        sentence=_sentence(faster, slower, found, told, ranked),
    )


def _sentence(
    faster: Cell, slower: Cell, found: Estimate, told: bool, ranked: Sequence[Cell]
) -> str:
    first, second = _name(faster, ranked), _name(slower, ranked)
    where = f"on {faster.workers}{_under(faster, ranked)}"
    training = f"training {faster.model} {where}"
    if found.low is None or found.high is None:
        return (
            f"too few repeats to tell {first} from {second} {training}: ratio "
            f"{found.value:.2f} from {found.n}, and an interval needs {FEWEST}"
        )
    if not told:
        return (
            f"no difference can be told between {first} and {second} {training}: "
            f"ratio {found.value:.2f}, 95 % CI {found.low:.2f} to {found.high:.2f}"
        )
    digits = _digits(found.low, found.high)
    return (
        f"{first} trains {faster.model} {found.value:.{digits}f} times as fast as {second} "
        f"{where}; 95 % CI {found.low:.{digits}f} to {found.high:.{digits}f}"
    )


def _digits(low: float, high: float) -> int:
    """Decimals that the interval justifies, and that show that it doesn't hold 1."""
    enough = (d for d in (1, 2, 3) if (high - low >= 10.0**-d or d == 3) and round(low, d) > 1)
    return next(enough, 4)


def _name(cell: Cell, ranked: Sequence[Cell]) -> str:
    """The framework, with version and execution where the study has several of them."""
    own = [other for other in ranked if other.framework == cell.framework]
    parts = [cell.framework]
    if len({other.framework_version for other in own}) > 1:
        parts.append(str(cell.framework_version))
    if len({other.execution for other in own}) > 1:
        parts.append(cell.execution)
    return " ".join(parts)


def _under(cell: Cell, ranked: Sequence[Cell]) -> str:
    """The conditions that the study varies, as the end of a sentence."""
    varied = {
        "scaling": f"{cell.scaling} scaling",
        "batch_size": f"batch {cell.batch_size}",
        "epochs": f"{cell.epochs} epochs",
        "data": f"data {cell.data}",
        "device_name": str(cell.device_name),
        "threads_per_worker": f"threads per worker {cell.threads_per_worker}",
        "seed": f"seed {cell.seed}",
        "precision": cell.precision,
    }
    alike = [other for other in ranked if other.model == cell.model]
    said = [
        words
        for name, words in varied.items()
        if len({getattr(c, name) for c in alike}) > 1 or (name == "precision" and cell.rounded)
    ]
    return f" ({', '.join(said)})" if said else ""

"""Framework against framework: the ratio of throughputs under equal conditions, and a sentence.

Each interval is a 95 % interval by itself. Which differences are told is decided for all pairs of
a report together (:mod:`distlab.measure.family`), so that of studies of equals at most 5 % tell
any; :func:`note` says so.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distlab.experiment.names import words
from distlab.measure.blocks import Effect
from distlab.measure.family import level, told
from distlab.measure.statistics import FEWEST, Estimate
from distlab.report.figures.cell import Cell
from distlab.report.figures.runs import ratio

OWN = ("framework", "framework_version", "execution", "apart")
EQUAL = ("comparison_key", "precision", "world_size", "hosts")


@dataclass(frozen=True)
class Comparison:
    """Two cells that may be compared: they differ in what does not change the work.

    Attributes
    ----------
    faster, slower:
        The cells; which is which goes by ``ratio``, whether the difference can be told or not.
    ratio:
        Throughput of ``faster`` over that of ``slower``, at least 1, with an interval of its own.
    told:
        Whether the difference is claimed: the interval lies above 1, and so much the surer as the
        report compares more.
    sentence:
        All of it in words, without a full stop.
    """

    faster: Cell
    slower: Cell
    ratio: Estimate
    told: bool
    sentence: str


def compare(cells: Sequence[Cell], looks: int = 1) -> list[Comparison]:
    """Compare every two ranked cells of one comparison key, precision, world size, host count.

    Parameters
    ----------
    cells:
        All cells of the study, in order.
    looks:
        How many reports of the study there are with this one, each with more repeats.

    Returns
    -------
    list of Comparison
        In the order of the cells. Cells that aren't ranked are in none; two of one framework,
        version and execution between which no recorded option differs are not compared.
    """
    ranked = [cell for cell in cells if cell.ranked and cell.comparison_key is not None]
    settings: dict[tuple[Any, ...], list[int]] = {}
    for place, cell in enumerate(ranked):
        settings.setdefault(_all(cell, EQUAL), []).append(place)
    places = sorted(
        pair for alike in settings.values() for pair in itertools.combinations(alike, 2)
    )
    pairs = [
        (ranked[one], ranked[other])
        for one, other in places
        if _all(ranked[one], OWN) != _all(ranked[other], OWN)
    ]
    effects = [ratio(one.counted, other.counted) for one, other in pairs]
    claimed = told(effects, [_all(one, EQUAL) for one, _ in pairs], level(looks))
    phrases = _Phrases(ranked)
    return [
        _comparison(*pair, effect, claim, phrases)
        for pair, effect, claim in zip(pairs, effects, claimed, strict=True)
    ]


def note(comparisons: Sequence[Comparison], looks: int = 1) -> str | None:
    """How sure it is what is told of all pairs together; None without any interval."""
    pairs = sum(comparison.ratio.low is not None for comparison in comparisons)
    if pairs == 0:
        return None
    were = "1 pair was" if pairs == 1 else f"{pairs} pairs were"
    return (
        f"{were} compared; intervals are of each by itself. Differences are told of all together, "
        f"by a test that errs in {100 * level(looks):.2g}% of studies in which nothing differs "
        f"(this is look {looks} at the study; all looks together err in 5%)"
    )


def _all(cell: Cell, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(cell, name) for name in names)


def _comparison(
    one: Cell, other: Cell, effect: Effect, claim: bool, phrases: "_Phrases"
) -> Comparison:
    faster, slower, found = one, other, effect.estimate
    if found.value < 1:
        faster, slower, found = other, one, found.inverted()
    return Comparison(
        faster=faster,
        slower=slower,
        ratio=found,
        told=claim,
        sentence=_sentence(faster, slower, found, claim, phrases),
    )


def _sentence(faster: Cell, slower: Cell, found: Estimate, claim: bool, phrases: "_Phrases") -> str:
    first, second = phrases.name(faster), phrases.name(slower)
    where = f"on {faster.workers}{phrases.under(faster)}"
    training = f"training {faster.model} {where}"
    if found.low is None or found.high is None:
        return (
            f"too few repeats to tell {first} from {second} {training}: ratio "
            f"{found.value:.2f} from {found.n}, and an interval needs {FEWEST}"
        )
    value, low, high = (ratio_text(found, bound) for bound in (found.value, found.low, found.high))
    if not claim:
        by_itself = " by itself, too little among all that is compared"
        return (
            f"no difference can be told between {first} and {second} {training}: "
            f"ratio {value}, 95% CI {low} to {high}{by_itself if found.excludes(1.0) else ''}"
        )
    return (
        f"{first} trains {faster.model} {value} times as fast as {second} {where}; "
        f"95% CI {low} to {high}"
    )


def ratio_text(estimate: Estimate, value: float) -> str:
    """A ratio, or a bound of it, wherever it is told: to two decimals.

    There are three where the interval is narrower than 0.01, and more, up to five, where one that
    excludes 1 would not show that it does.
    """
    bounds = [bound for bound in (estimate.low, estimate.high) if bound is not None]
    digits = 3 if len(bounds) == 2 and bounds[1] - bounds[0] < 0.01 else 2
    while digits < 5 and estimate.excludes(1.0) and 1.0 in [round(b, digits) for b in bounds]:
        digits += 1
    return f"{value:.{digits}f}"


class _Phrases:
    """What a sentence has to say of a cell, for it differs between the study's ranked cells."""

    def __init__(self, ranked: Sequence[Cell]) -> None:
        self._of_framework = self._differing(
            ranked, "framework", ("framework_version", "execution")
        )
        self._of_model = self._differing(
            ranked, "model", ("scaling", "batch_size", "device_name", "precision")
        )

    @staticmethod
    def _differing(
        cells: Sequence[Cell], alike: str, names: Sequence[str]
    ) -> dict[str, frozenset[str]]:
        """By what cells share: in which of these attributes they differ."""
        values: dict[str, dict[str, set[Any]]] = {}
        for cell in cells:
            own = values.setdefault(getattr(cell, alike), {name: set() for name in names})
            for name in names:
                own[name].add(getattr(cell, name))
        return {
            key: frozenset(name for name, found in own.items() if len(found) > 1)
            for key, own in values.items()
        }

    def name(self, cell: Cell) -> str:
        """The framework, with version and execution where the study has several of them."""
        several = self._of_framework[cell.framework]
        parts = [cell.framework]
        parts += [str(cell.framework_version)] * ("framework_version" in several)
        parts += [cell.execution] * ("execution" in several)
        return " ".join([*parts, *filter(None, [words(cell.apart)])])

    def under(self, cell: Cell) -> str:
        """The conditions that the study varies, as the end of a sentence."""
        varied = {
            "scaling": f"{cell.scaling} scaling",
            "batch_size": f"batch {cell.batch_size}",
            "device_name": str(cell.device_name),
            "precision": cell.precision,
        }
        several = self._of_model[cell.model]
        said = [
            phrase
            for name, phrase in varied.items()
            if name in several or (name == "precision" and cell.rounded)
        ]
        said += filter(None, [cell.conditions])
        return f" ({', '.join(said)})" if said else ""

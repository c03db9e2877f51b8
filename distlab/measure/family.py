"""Which of many differences may be claimed, so that a report claims a false one in one of twenty.

Every comparison of a report belongs to one family. One is *told* if two things hold:

- its own 95 % interval, from its own draws alone, excludes 1;
- Holm's step-down test (Holm 1979) over all of the family rejects it, with a variance pooled over
  comparisons: that of its setting (cells that are compared with each other) or that of the whole
  report, whichever is greater.

The pool wins back what the correction costs: five repeats of three frameworks in four settings
have 32 degrees of freedom together, where a pair has 4. Relative noise need not be alike for this:
pooling alone would tell false differences in up to 16 % of studies (cells of two workers three
times as noisy), a preliminary test (Bancroft 1964, at 0.25) lets up to 9 % through and pays for
it, a variance shrunk to the others' (Smyth 2004) up to 11 %. The two conditions together stay
below 6.5 % there, and below 5 % where noise is alike (``benchmarks/claims.py``; 4,000 studies of
3, 5 and 10 repeats).

Looking at a study, adding repeats and looking again is testing more than once. Each look spends a
part of the 5 % (Lan & DeMets 1983): the first four fifths, look k after it a fifth over k (k - 1),
which is 5 % altogether however often one looks, by Bonferroni's inequality.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

from distlab.measure.blocks import Effect, combined
from distlab.measure.statistics import CONFIDENCE

FIRST_LOOK = 0.8
"""The part of the error that the first look may spend."""


def level(look: int) -> float:
    """What a study's claims together may err by at its ``look``-th report (from 1).

    Raises
    ------
    ValueError
        If ``look`` is less than 1.
    """
    if look < 1:
        raise ValueError(f"look is {look}; the first is 1")
    part = FIRST_LOOK if look == 1 else (1 - FIRST_LOOK) / (look * (look - 1))
    return (1 - CONFIDENCE) * part


def told(effects: Sequence[Effect], settings: Sequence[Hashable], error: float) -> list[bool]:
    """Which of a report's comparisons may be claimed.

    Parameters
    ----------
    effects:
        Every comparison of the report.
    settings:
        Of each the setting, whose cells are all compared with each other.
    error:
        In what share of studies of equals any may be told: :func:`level`.
    """
    tested = [place for place, effect in enumerate(effects) if effect.error is not None]
    values = _probabilities([effects[k] for k in tested], [settings[k] for k in tested])
    found = [False] * len(effects)
    for rank, (value, place) in enumerate(sorted(zip(values, tested, strict=True))):
        if value > error / (len(tested) - rank):
            break
        found[place] = effects[place].estimate.excludes(1.0)
    return found


def _probabilities(effects: Sequence[Effect], settings: Sequence[Hashable]) -> list[float]:
    """Of each effect, by the pooled variance; by its own error where it has none to pool."""
    weights = _weights(settings)
    report, df = _pool(effects, weights)
    beside: dict[Hashable, list[int]] = {}
    for place, setting in enumerate(settings):
        beside.setdefault(setting, []).append(place)
    pooled = {
        setting: max(report, _pool([effects[k] for k in own], [weights[k] for k in own])[0])
        for setting, own in beside.items()
    }
    return [
        effect.p()
        if effect.variance is None
        else effect.p(*combined(pooled[setting], effect.draws, df, effect.floor))
        for effect, setting in zip(effects, settings, strict=True)
    ]


def _weights(settings: Sequence[Hashable]) -> list[float]:
    """Of c cells in c (c - 1) / 2 comparisons only c - 1 are independent: 2 / c of each."""
    counts = Counter(settings)
    return [2 / ((1 + (1 + 8 * counts[name]) ** 0.5) / 2) for name in settings]


def _pool(effects: Sequence[Effect], weights: Sequence[float]) -> tuple[float, float]:
    """Variance of a draw over all comparisons, and its degrees of freedom."""
    parts = [
        (weight * (effect.draws - 1), effect.variance)
        for effect, weight in zip(effects, weights, strict=True)
        if effect.variance is not None
    ]
    df = sum(part for part, _ in parts)
    return (sum(part * variance for part, variance in parts) / df if df else 0.0), df

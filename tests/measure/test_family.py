import math

import pytest
from scipy import stats

from distlab.measure import family
from distlab.measure.blocks import Effect, Measured, mean, unpaired
from distlab.measure.family import level, told


def effect(value: float, sd: float, draws: int = 5) -> Effect:
    return Effect(value, sd**2, draws, 0.0, sd / math.sqrt(draws), draws - 1, draws)


def test_looks_spend_five_percent_together() -> None:
    assert [level(look) for look in (1, 2, 3)] == pytest.approx([0.04, 0.005, 0.05 / 30])
    assert sum(level(look) for look in range(1, 10_000)) == pytest.approx(0.05, abs=1e-5)
    with pytest.raises(ValueError, match="look is 0"):
        level(0)


def test_one_comparison_is_students_t() -> None:
    # t(4) at 5 % is 2.776 standard errors of 0.01.
    at = [effect(t * 0.01, 0.01 * math.sqrt(5)) for t in (2.77, 2.78)]
    assert [told([one], ["a"], 0.05) for one in at] == [[False], [True]]


def test_three_of_a_setting_have_two_times_the_degrees_of_freedom() -> None:
    # Holm's first step: t(8) at 5/3 % is 3.016; the next two at 2.5 % (2.752) and 5 %.
    critical = [float(stats.t.isf(0.05 / steps / 2, 8)) for steps in (3, 2, 1)]
    assert critical == pytest.approx([3.016, 2.752, 2.306], abs=1e-3)

    def found(*errors: float) -> list[bool]:
        sd = 0.01 * math.sqrt(5)
        return told([effect(e * 0.01, sd) for e in errors], ["a"] * 3, 0.05)

    assert found(3.00, 2.9, 2.9) == [False] * 3
    assert found(3.03, 2.70, 0.0) == [True, False, False]
    # The interval by itself, with t(4) = 2.776, must exclude 1 too.
    assert found(3.03, 2.76, 2.79) == [True, False, True]


def test_the_noisier_of_setting_and_report_decides() -> None:
    quiet = [effect(0.05, 0.01)] * 3
    loud = [effect(0.0, 0.2)] * 3
    both = [*quiet, *loud]
    assert told(both, ["a"] * 3 + ["b"] * 3, 0.05) == [False] * 6
    assert told([*quiet, *[effect(0.0, 0.01)] * 3], ["a"] * 3 + ["b"] * 3, 0.05)[:3] == [True] * 3
    # A noisy setting is not lent the quiet one's certainty.
    noisy = [effect(0.2, 0.2), effect(0.0, 0.1), effect(0.0, 0.1)]
    assert not any(told([*noisy, *[effect(0.0, 0.001)] * 30], ["a"] * 3 + ["b"] * 30, 0.05))


def test_what_has_no_interval_is_never_told_and_costs_nothing() -> None:
    none = Effect(1.0, None, 2, 0.0, None, 0.0, 2)
    one = effect(0.0279, 0.01 * math.sqrt(5))
    assert told([none, one, none], ["a"] * 3, 0.05) == [False, True, False]
    assert told([], [], 0.05) == []


def test_independent_samples_use_their_own_error() -> None:
    logs = [1.0, 1.01, 1.02], [1.3, 1.31, 1.32]
    sides = [{k: Measured(x, str(k)) for k, x in enumerate(side)} for side in logs]
    assert told([unpaired(*sides)], ["a"], 0.05) == [True]


def test_a_difference_without_any_noise_is_told() -> None:
    still = mean({k: Measured(1.1, str(k)) for k in range(3)})
    even = mean({k: Measured(1.0, str(k)) for k in range(3)})
    assert told([still, even], ["a", "b"], 0.05) == [True, False]


def test_the_variance_of_a_setting_is_pooled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Once for each comparison takes minutes of a study in which thousands are compared.
    pooled, pool = [], family._pool
    monkeypatch.setattr(
        family, "_pool", lambda effects, weights: pooled.append(1) or pool(effects, weights)
    )
    told([effect(0.02, 0.01)] * 900, [place // 45 for place in range(900)], 0.04)
    assert len(pooled) == 1 + 900 // 45

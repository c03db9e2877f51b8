"""The quick part of ``benchmarks/claims.py``: it fails where a formula or a design is broken.

Shares are of few studies with fixed seeds; bounds leave three standard errors.
"""

from dataclasses import replace

import pytest
from claims import ROWS, Noise, found_in_80_percent, judged, looking

pytestmark = pytest.mark.slow

QUICK = {row.name: row for row in ROWS}
EQUAL = QUICK["normal, 1 %"]
COVERED = ("throughput", "ratio", "efficiency", "stored", "saved")


@pytest.mark.parametrize(
    "name",
    [
        "normal, 1 %",
        "1 run in 20 slowed by 10-50 %",
        "drift of 5 % + 0.3 %",
        "by 2 %",
        "by 2 %, two runs a group",
        "by 2 %, never renewed",
        "another day is 2 % slower",
    ],
)
def test_intervals_hold_the_truth_and_equals_are_not_told_apart(name: str) -> None:
    found = judged(QUICK[name], 10, 80)
    assert {figure: found[figure] for figure in COVERED if found[figure] < 91} == {}
    assert found["told"] <= 12
    assert found["fastest"] <= 5


def test_the_fixed_order_is_what_a_drift_turns_into_claims() -> None:
    fixed = replace(QUICK["drift of 5 % + 0.3 %"], shuffled=False)
    assert judged(fixed, 5, 20)["told"] > 50


def test_five_repeats_find_nearly_as_small_a_difference_as_one_pair_by_itself_would() -> None:
    # A pair alone at 4 degrees of freedom finds 2.4 %, at 1 % of noise, in 80 % of studies.
    assert found_in_80_percent(EQUAL, 5, 15) < 1.2 * 2.4


def test_looking_again_and_again_tells_equals_apart_no_more_often() -> None:
    # With 5 % at each look it would be 17 %.
    assert looking(EQUAL, range(3, 21), 40) <= 7.5


def test_every_row_is_a_kind_of_noise_of_its_own() -> None:
    assert len(QUICK) == len(ROWS) == len({replace(row, name="") for row in ROWS})
    assert all(isinstance(row, Noise) for row in ROWS)
